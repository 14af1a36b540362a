#include "fs/upkeep/pass.h"

#include <algorithm>
#include <utility>

#include "fs/keys/in_keeping.h"
#include "fs/keys/record_memory.h"

namespace keyfs {
namespace {

constexpr size_t kPage = 200;
// How often a record that others keep changing is retried.
constexpr int kTries = 3;
// A write of its own, and synced, for each key would slow down a pass over many.
constexpr size_t kSeenAtOnce = 200;

PassEnd ended(PassEnd::What what) {
  PassEnd end;
  end.what = what;
  return end;
}

PassEnd failed(Error error) {
  PassEnd end = ended(PassEnd::What::kFailed);
  end.error = std::move(error);
  return end;
}

}  // namespace

Pass::Pass(Loop& loop, Store& store, Log& log, PassOptions options, HostMemory* memory,
           Notebook* notebook)
    : loop_(loop),
      store_(store),
      log_(log),
      options_(std::move(options)),
      memory_(memory),
      notebook_(notebook) {}

Task<Result<void>> Pass::all(std::string after, RecordOperation& operation, TimePoint deadline) {
  size_t seen = 0;
  // A list is no miss, so that a store that lost all it held, or is another one, would look whole.
  auto same = co_await check_same_store(store_, call_until(deadline));
  if (!same) co_return fail(same.error().within("could not go through the keys"));
  for (;;) {
    auto page = co_await store_.list(after, kPage, call_until(deadline));
    if (!page) co_return fail(page.error().within("could not go through the keys"));
    for (const auto& entry : page->entries) {
      if (entry.state == KeyState::kDeleted) continue;
      ++seen;
      if (operation.wants(entry)) {
        const PassEnd end = co_await one(entry.id, operation, deadline);
        if (end.store_silent) co_return fail(end.error->within("could not go through the keys"));
      }
      if (loop_.now() >= deadline) {
        co_return fail(Code::kTimeout, "could not read all keys: the deadline passed after " +
                                           std::to_string(seen));
      }
    }
    if (!page->next) break;
    after = std::move(*page->next);
    operation.page_done(after);
  }
  co_return Result<void>();
}

Task<void> Pass::named(std::vector<std::string> ids, RecordOperation& operation,
                       TimePoint deadline) {
  // A store that is silent would cost a whole deadline for each key.
  bool silent = false;
  for (const auto& id : ids) {
    if (silent) {
      operation.begin();
      operation.finished(
          id, failed(Error(Code::kTimeout, "was not tried, since the store does not answer")));
      continue;
    }
    const PassEnd end = co_await one(id, operation, deadline);
    silent = end.store_silent;
  }
}

// Repeats until no other process changes the record in between.
Task<PassEnd> Pass::one(std::string id, RecordOperation& operation, TimePoint deadline) {
  std::optional<PassEnd> end;
  for (int tries = 0; tries < kTries && !end; ++tries) {
    operation.begin();
    end = co_await attempt(id, operation, deadline);
    if (!end)
      log_.info("the record of key " + id + " was changed by another process", {{"id", id}});
  }
  if (!end) {
    end =
        failed(Error(Code::kUnavailable, "other processes keep changing the record of key " + id));
  }
  operation.finished(id, *end);
  co_return std::move(*end);
}

Task<std::optional<PassEnd>> Pass::attempt(const std::string& id, RecordOperation& operation,
                                           TimePoint deadline) {
  using What = PassEnd::What;
  auto found = co_await store_.get(id, Read::kStrong, call_until(deadline));
  if (!found) {
    PassEnd end = failed(found.error().within(could_not(id)));
    end.store_silent = found.error().code == Code::kTimeout;
    if (found.error().code == Code::kCorrupt) {
      co_await see(id, sighting_of(found.error()), deadline);
    }
    co_return end;
  }
  if (!*found) co_return ended(What::kAbsent);
  Stored stored = std::move(**found);
  co_await see(id, sighting_of(stored.record), deadline);
  Record& record = stored.record;
  if (record.state == KeyState::kDeleted) co_return ended(What::kDeleted);
  if (!operation.takes(record)) co_return ended(What::kNotTaken);
  std::optional<Error> unsure;
  if (memory_ != nullptr && !record.from_rkms) {
    auto right = co_await in_keeping(loop_, store_, *memory_, std::move(stored),
                                     call_until(deadline), &unsure);
    if (!right) co_return failed(right.error().within("key " + id + " is left as it is"));
    if (!*right) co_return ended(What::kAbsent);
    stored = std::move(**right);
    if (record.state == KeyState::kDeleted) co_return ended(What::kDeleted);
  }
  const Record before = record;
  co_await operation.apply(record, deadline);
  if (record == before || !options_.writes) co_return ended(What::kUnchanged);

  auto replaced = co_await store_.replace(std::move(record), stored.revision, call_until(deadline));
  if (!replaced) co_return failed(replaced.error().within(could_not(id)));
  if (!*replaced) co_return std::nullopt;
  PassEnd end = ended(What::kWritten);
  end.not_noted = co_await note(std::move(**replaced), deadline);
  // What a command notes is not where what was seen is.
  if (!end.not_noted && notebook_ != nullptr && unsure) end.not_noted = std::move(unsure);
  co_return end;
}

Task<std::optional<Error>> Pass::end(TimePoint deadline) {
  co_await write_seen(deadline);
  co_return std::exchange(unseen_, std::nullopt);
}

Task<std::optional<Error>> Pass::note(Stored written, TimePoint deadline) {
  if (memory_ != nullptr) memory_->note(written, true);
  if (notebook_ == nullptr) co_return std::nullopt;
  auto noting = notebook_->write_down(std::move(written), true);
  co_return co_await done_by(loop_, std::move(noting), call_until(deadline));
}

Task<void> Pass::see(std::string id, Sighting what, TimePoint deadline) {
  if (!options_.writes) co_return;
  if (memory_ != nullptr) memory_->note_seen(id, what);
  if (notebook_ == nullptr || notebook_out_) co_return;
  seen_.push_back({std::move(id), what});
  if (seen_.size() >= kSeenAtOnce) co_await write_seen(deadline);
}

Task<void> Pass::write_seen(TimePoint deadline) {
  if (seen_.empty()) co_return;
  auto noting = notebook_->write_seen(std::exchange(seen_, {}));
  const auto why_not = co_await done_by(loop_, std::move(noting), call_until(deadline));
  if (!why_not) co_return;
  unseen_ = why_not;
  notebook_out_ = why_not->code == Code::kTimeout;
}

TimePoint Pass::call_until(TimePoint deadline) const {
  return std::min(deadline, loop_.now() + options_.call_deadline);
}

std::string Pass::could_not(const std::string& id) const {
  return "could not " + options_.verb + " key " + id;
}

}  // namespace keyfs
