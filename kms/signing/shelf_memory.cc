#include "kms/signing/shelf_memory.h"

#include <algorithm>
#include <utility>

#include "base/deadline.h"

namespace keyfs {
namespace {

// How long a shelf has to confirm a record before it counts as out. A signer may have less.
constexpr Duration kCheckPatience = std::chrono::seconds(3);
// A shelf that is out is asked again after so long.
constexpr Duration kAskAgain = std::chrono::seconds(1);

// Says nothing about the key: the shelf is out of reach, or refuses keyfs.
bool is_shelf_outage(Code code) { return code != Code::kCorrupt && code != Code::kInvalid; }

const ShelvedVersion* version_in(const Shelved& record, uint32_t number) {
  const auto found = std::find_if(record.versions.begin(), record.versions.end(),
                                  [&](const auto& version) { return version.number == number; });
  return found == record.versions.end() ? nullptr : &*found;
}

std::optional<std::string> version_goes_back(const ShelvedVersion& before,
                                             const ShelvedVersion& now) {
  const std::string what = "version " + std::to_string(before.number);
  if (now.public_der != before.public_der || now.check != before.check || now.type != before.type) {
    return what + " is not the key that it was";
  }
  if (before.wrapped.empty() && !now.wrapped.empty()) return what + " was destroyed, and is back";
  return std::nullopt;
}

}  // namespace

ShelfMemory::ShelfMemory(Loop& loop, SigningShelf& shelf, Duration fresh_for,
                         Duration serve_stale_for)
    : loop_(loop),
      shelf_(shelf),
      fresh_for_(fresh_for),
      serve_stale_for_(serve_stale_for),
      checks_(loop),
      behind_(loop) {}

Task<Result<ShelfMemory::Known>> ShelfMemory::known(std::string name, TimePoint deadline) {
  for (;;) {  // what has ended
    const auto ended = co_await behind_.next(loop_.now());
    if (!ended) break;
  }
  auto seen = seen_.find(name);
  const bool any = seen != seen_.end();
  const bool fresh = any && !seen->second.out && !seen->second.refused &&
                     loop_.now() - seen->second.confirmed < fresh_for_;
  if (!fresh) {
    // Nobody waits for a shelf that was out a moment ago.
    if (any && seen->second.out && may_be_stale(seen->second)) {
      if (loop_.now() >= seen->second.ask_again && !checks_.in_flight(name)) {
        behind_.start(start_check(name));
      }
    } else {
      auto joined = start_check(name);
      auto checked = co_await before(loop_, sooner(deadline, loop_.now()),
                                     "the store did not answer", std::move(joined));
      seen = seen_.find(name);
      if (!checked && is_shelf_outage(checked.error().code) && seen != seen_.end() &&
          may_be_stale(seen->second)) {
        seen->second.out = true;
      } else if (!checked) {
        co_return fail(std::move(checked.error()));
      }
    }
  }
  Known known;
  if (seen == seen_.end()) co_return known;
  known.record = seen->second.record;
  known.confirmed = seen->second.confirmed;
  known.out = seen->second.out;
  co_return known;
}

Task<Result<bool>> ShelfMemory::start_check(const std::string& name) {
  Flights::Work work = [this, name](Flights::Flight& flight) {
    flight.pin();  // what it learns is for the next ones too
    return check(name);
  };
  return checks_.join(name, std::move(work));
}

Task<Result<bool>> ShelfMemory::check(std::string name) {
  const TimePoint until = loop_.now() + kCheckPatience;
  auto looking = look(name, until);
  auto looked = co_await before(loop_, until, "the store did not answer", std::move(looking));
  if (looked) co_return true;
  const auto seen = seen_.find(name);
  if (is_shelf_outage(looked.error().code)) {
    if (seen == seen_.end()) co_return co_await check_cold(name, std::move(looked.error()));
    seen->second.out = true;
    seen->second.ask_again = loop_.now() + kAskAgain;
  } else if (seen != seen_.end()) {
    // It answers, and what it says forbids that the key is used.
    seen->second.refused = true;
    seen->second.confirmed = std::min(seen->second.confirmed, loop_.now() - fresh_for_);
  }
  co_return fail(std::move(looked.error()));
}

// An answer that may be old is better than none, and is checked behind it; it confirms nothing.
Task<Result<bool>> ShelfMemory::check_cold(std::string name, Error outage) {
  const TimePoint until = loop_.now() + kCheckPatience;
  auto getting = shelf_.get(name, false, until);
  auto got = co_await before(loop_, until, "the store did not answer", std::move(getting));
  if (!got) co_return fail(std::move(outage));
  if (seen_.contains(name) || !*got) co_return true;
  Seen seen;
  seen.record = std::make_shared<const Shelved>(std::move(**got));
  seen.confirmed = loop_.now() - fresh_for_;
  seen.out = true;
  seen.ask_again = loop_.now() + kAskAgain;
  seen_.emplace(std::move(name), std::move(seen));
  co_return true;
}

Task<Result<ShelvedPtr>> ShelfMemory::look(std::string name, TimePoint deadline) {
  TimePoint asked_at = loop_.now();
  auto got = co_await shelf_.get(name, true, deadline);
  if (!got) co_return fail(std::move(got.error()));
  if (goes_back(name, *got)) {
    // It may have been written after the shelf had answered.
    asked_at = loop_.now();
    got = co_await shelf_.get(name, true, deadline);
    if (!got) co_return fail(std::move(got.error()));
    if (const auto why = goes_back(name, *got)) {
      co_return fail(Code::kCorrupt,
                     "the record of signing key " + name +
                         " in the store contradicts the one that this process has seen: " + *why +
                         ". Restore the store; only if an older one was restored on purpose, "
                         "restart keyfs");
    }
  }
  ShelvedPtr record;
  if (*got) record = std::make_shared<const Shelved>(std::move(**got));
  accept(name, record, asked_at);
  co_return record;
}

Task<Result<ShelvedPtr>> ShelfMemory::save(Shelved shelved, TimePoint deadline) {
  const std::string name = shelved.name;
  const TimePoint asked_at = loop_.now();
  auto saved = co_await shelf_.save(std::move(shelved), deadline);
  if (!saved) co_return fail(std::move(saved.error()));
  if (!*saved) co_return ShelvedPtr();
  auto record = std::make_shared<const Shelved>(std::move(**saved));
  accept(name, record, asked_at);
  co_return record;
}

void ShelfMemory::accept(const std::string& name, ShelvedPtr record, TimePoint asked_at) {
  if (record == nullptr) return;  // a name that is not there costs nothing
  Seen& seen = seen_[name];
  // An answer that was overtaken by a newer one.
  if (seen.record != nullptr && record->serial < seen.record->serial) return;
  seen.record = std::move(record);
  seen.confirmed = std::max(seen.confirmed, asked_at);
  seen.out = false;
  seen.refused = false;
}

std::optional<std::string> ShelfMemory::goes_back(const std::string& name,
                                                  const std::optional<Shelved>& now) const {
  const auto seen = seen_.find(name);
  if (seen == seen_.end()) return std::nullopt;
  const Shelved& before = *seen->second.record;
  if (!now) return "it is gone";
  if (now->serial < before.serial) {
    return "its serial went back from " + std::to_string(before.serial) + " to " +
           std::to_string(now->serial);
  }
  if (before.deleted && !now->deleted) return "it was deleted, which is permanent";
  if (now->deleted) return std::nullopt;
  if (now->serial == before.serial &&
      (now->current != before.current || now->disabled != before.disabled)) {
    return "its state or current version changed, but its serial did not";
  }
  if (now->last < before.last) {
    return "its highest version went back from " + std::to_string(before.last) + " to " +
           std::to_string(now->last);
  }
  for (const auto& version : before.versions) {
    const ShelvedVersion* same = version_in(*now, version.number);
    if (same == nullptr) continue;  // dropped, and its number is not used again
    if (auto why = version_goes_back(version, *same)) return why;
  }
  return std::nullopt;
}

bool ShelfMemory::may_be_stale(const Seen& seen) const {
  return !seen.refused && loop_.now() - seen.confirmed < serve_stale_for_;
}

}  // namespace keyfs
