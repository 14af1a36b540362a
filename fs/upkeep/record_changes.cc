#include "fs/upkeep/record_changes.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/race.h"
#include "fs/keys/in_keeping.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

// How long a change that was made at the end of its time still waits until it is noted.
constexpr Duration kNotePatience = std::chrono::seconds(1);
// How long a command that only looks waits for it: the answer does not depend on it.
constexpr Duration kSeePatience = std::chrono::milliseconds(500);
// Between tries, doubled each time.
constexpr Duration kPause = std::chrono::milliseconds(5);
constexpr int kMostDoubled = 6;

}  // namespace

Result<void> check_id(const std::string& id) {
  if (is_key_id(id)) return {};
  return fail(Code::kInvalid, "this is not a valid key id: " + std::string(kKeyIdRule));
}

Error no_such_key(const std::string& id) { return {Code::kInvalid, "there is no key " + id}; }

Error no_such_key_yet(const std::string& id) {
  return {Code::kInvalid, no_such_key(id).message + " (keyfs create " + id + " makes one)"};
}

std::string_view word_of(const Error& error, const std::string& id) {
  const bool absent =
      error.message == no_such_key(id).message || error.message == no_such_key_yet(id).message;
  return absent ? "absent" : to_string(error.code);
}

Result<void> check_serial(const Record& record) {
  if (record.serial != std::numeric_limits<uint64_t>::max()) return {};
  return fail(Code::kInvalid,
              "the serial of its record is at its end, which no change by keyfs has led to; "
              "restore the record");
}

Result<void> check_may_change(const Record& record) {
  if (auto ok = check_serial(record); !ok) return ok;
  if (record.state == KeyState::kDeleted) {
    return fail(Code::kInvalid, "it was deleted, which is permanent");
  }
  if (record.from_rkms) {
    return fail(Code::kInvalid,
                "RKMS wrote its record, which has neither a state nor versions; adopt it first "
                "(keyfs heal --adopt)");
  }
  return {};
}

Task<bool> Tries::next() {
  if (count_ == kMost) co_return false;
  if (count_ > 1) co_await loop_.sleep_for(kPause * (1 << std::min(count_ - 1, kMostDoubled)));
  ++count_;
  co_return true;
}

Error Tries::others(const std::string& what) {
  return {Code::kUnavailable, what + ": others keep changing its record; try again"};
}

RecordChanges::RecordChanges(Loop& loop, Store& store, HostMemory& memory, Notebook& notebook)
    : loop_(loop), store_(store), memory_(memory), notebook_(notebook) {}

Task<Result<Stored>> RecordChanges::look_up(std::string id, std::string what, TimePoint deadline) {
  auto found = co_await store_.get(id, Read::kStrong, deadline);
  if (!found) {
    if (found.error().code == Code::kCorrupt) co_await see(id, sighting_of(found.error()));
    co_return fail(found.error().within(what));
  }
  unsure_.reset();
  if (!*found) {
    if (auto lost = co_await lost_by_store(id); !lost) co_return fail(lost.error().within(what));
    co_return fail(no_such_key(id));
  }
  auto right = co_await in_keeping(loop_, store_, memory_, std::move(**found), deadline, &unsure_);
  if (!right) co_return fail(std::move(right.error()));
  if (!*right) co_return fail(no_such_key(id));
  co_return std::move(**right);
}

Task<Result<RecordChanges::Changed>> RecordChanges::change(std::string id, std::string what,
                                                           Edit edit, TimePoint deadline) {
  Tries tries(loop_);
  while (co_await tries.next()) {
    auto found = co_await look_up(id, what, deadline);
    if (!found) co_return fail(std::move(found.error()));
    Changed changed;
    if (auto ok = check_serial(found->record); !ok) co_return fail(ok.error().within(what));
    auto to_write = edit(found->record);
    if (!to_write) co_return fail(to_write.error().within(what));
    if (!*to_write) {
      changed.stored = *found;
      changed.not_noted = co_await note(std::move(*found), true, deadline);
      co_return changed;
    }
    auto replaced = co_await store_.replace(std::move(found->record), found->revision, deadline);
    if (!replaced) co_return fail(replaced.error().within(what));
    if (!*replaced) continue;
    changed.stored = std::move(**replaced);
    changed.written = true;
    Stored copy = changed.stored;
    changed.not_noted = co_await note(std::move(copy), true, deadline);
    co_return changed;
  }
  co_return fail(Tries::others(what));
}

Task<std::optional<Error>> RecordChanges::note(Stored stored, bool strong, TimePoint deadline) {
  auto noting = notebook_.write_down(std::move(stored), strong);
  const TimePoint until = std::max(deadline, loop_.now() + kNotePatience);
  auto why_not = co_await done_by(loop_, std::move(noting), until);
  if (why_not || !unsure_) co_return why_not;
  co_return unsure_->within("whether it had gone back before could not be told");
}

// A record that this host has seen, and the store has not, was lost: there is no "no such key" then.
Task<Result<void>> RecordChanges::lost_by_store(std::string id) {
  TaskGroup<Recall> asked(loop_);
  asked.start(memory_.recall(id));
  const auto told = co_await asked.next(loop_.now() + kSeePatience);
  const bool seen =
      told && (told->value.what == Recall::What::kKnown || told->value.stored.has_value());
  if (!seen) co_return Result<void>();
  co_return fail(Code::kCorrupt,
                 "the store no longer has its record, which this host has seen; restore the "
                 "store, or, if the loss is intended, " +
                     memory_.forget());
}

Task<std::optional<Error>> RecordChanges::see(std::string id, Sighting what) {
  if (unheard_) co_return unheard_;
  std::vector<SeenKey> seen(1, SeenKey{std::move(id), what});
  auto noting = notebook_.write_seen(std::move(seen));
  auto why_not = co_await done_by(loop_, std::move(noting), loop_.now() + kSeePatience);
  if (why_not && why_not->code == Code::kTimeout) unheard_ = why_not;
  co_return why_not;
}

}  // namespace keyfs
