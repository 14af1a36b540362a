#include "fs/healer.h"

#include <algorithm>
#include <utility>

#include "base/race.h"
#include "fs/key_check.h"

namespace keyfs {
namespace {

constexpr size_t kPage = 200;

std::vector<std::string> missing_regions(const Version& version,
                                         const std::vector<std::string>& configured) {
  std::vector<std::string> missing;
  for (const auto& region : configured) {
    if (!version.wrapped.contains(region)) missing.push_back(region);
  }
  return missing;
}

std::string list_of(const std::vector<RegionFailure>& failures) {
  std::string text;
  for (const auto& failure : failures) {
    if (!text.empty()) text += "; ";
    text += failure.region + ": " + failure.error.message;
  }
  return text;
}

}  // namespace

Healer::Healer(Loop& loop, Store& store, Regions& regions, Log& log, HealOptions options)
    : loop_(loop), store_(store), regions_(regions), log_(log), options_(options) {}

Task<Result<HealReport>> Healer::run_once(std::vector<std::string> ids, TimePoint deadline) {
  HealReport report;
  for (auto& id : ids) co_await heal(std::move(id), deadline, report);
  if (!ids.empty()) co_return report;

  const std::vector<std::string> configured = regions_.names();
  std::string after;
  for (;;) {
    auto page = co_await store_.list(after, kPage, deadline);
    if (!page) co_return fail(page.error().within("could not go through the keys"));
    for (const auto& entry : page->entries) {
      if (entry.state == KeyState::kDeleted) continue;
      // The list tells what the current version is wrapped in; only what may lack something is
      // read.
      const bool whole = !entry.corrupt &&
                         std::all_of(configured.begin(), configured.end(), [&](const auto& name) {
                           return std::find(entry.regions.begin(), entry.regions.end(), name) !=
                                  entry.regions.end();
                         });
      if (whole) {
        ++report.keys;
        ++report.whole;
      } else {
        co_await heal(entry.id, deadline, report);
      }
      if (loop_.now() >= deadline) {
        co_return fail(Code::kTimeout, "could not go through the keys: the deadline passed after " +
                                           std::to_string(report.keys));
      }
    }
    if (!page->next) break;
    after = std::move(*page->next);
  }
  co_return report;
}

// All versions of a key: an old one may still be needed to decrypt what it encrypted.
Task<Healer::Outcome> Healer::heal(std::string id, TimePoint deadline, HealReport& report) {
  ++report.keys;
  const auto failed = [&](Error error) {
    ++failed_;
    report.failures.push_back({id, std::move(error)});
    return Outcome::kFailed;
  };
  const TimePoint until = std::min(deadline, loop_.now() + options_.call_deadline);
  auto found = co_await store_.get(id, until);
  if (!found) co_return failed(std::move(found.error()));
  if (!*found) co_return failed(Error(Code::kInvalid, "there is no key " + id));
  Stored stored = std::move(**found);
  Record& record = stored.record;
  // Deleted keys need no more copies. What RKMS wrote is not bound to its id: adopting it, which
  // wraps it anew, is not ours to decide.
  if (record.state == KeyState::kDeleted || record.from_rkms) {
    ++report.whole;
    co_return Outcome::kWhole;
  }

  const std::vector<std::string> configured = regions_.names();
  HealReport::Missing missing{id, {}};
  bool changed = false;
  bool lacked = false;
  for (auto& [number, version] : record.versions) {
    const auto wanted = missing_regions(version, configured);
    if (wanted.empty()) continue;
    lacked = true;
    co_await take_calls(1 + wanted.size());
    const TimePoint call_until = std::min(deadline, loop_.now() + options_.call_deadline);
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    WrappedKeys wraps = wraps_of(version);
    EncryptionContext context = context_of(record, number);
    KeyVerifier verifier = verifier_of(record, number);
    auto unwrapped =
        co_await regions_.unwrap(std::move(wraps), context, std::move(verifier), call_until);
    if (!unwrapped) co_return failed(unwrapped.error().within("could not unwrap key " + id));
    auto more =
        co_await regions_.wrap_missing(unwrapped->key, std::move(context), wanted, call_until);
    const std::string now = to_rfc3339(loop_.clock().wall());
    for (auto& [region, wrapped] : more.wrapped) {
      Wrap wrap;
      wrap.master = std::move(wrapped.master);
      wrap.blob = std::move(wrapped.blob);
      wrap.at = now;
      version.wrapped.emplace(region, std::move(wrap));
      changed = true;
    }
    for (auto& failure : more.missing) missing.regions.push_back(std::move(failure));
  }
  if (!lacked) {
    ++report.whole;
    co_return Outcome::kWhole;
  }
  if (changed) {
    auto replaced =
        co_await store_.replace(std::move(record), stored.revision,
                                std::min(deadline, loop_.now() + options_.call_deadline));
    if (!replaced) co_return failed(std::move(replaced.error()));
    if (!*replaced) {
      co_return failed(Error(Code::kUnavailable,
                             "the record of key " + id + " was changed by another meanwhile"));
    }
  }
  if (!missing.regions.empty()) {
    report.missing.push_back(std::move(missing));
    co_return Outcome::kMissing;
  }
  ++healed_;
  ++report.healed;
  log_.info("key " + id + " is wrapped in every region again", {{"id", id}});
  co_return Outcome::kHealed;
}

// Spreads calls over time: each takes its share of a second from the ones that come after it.
Task<void> Healer::take_calls(size_t calls) {
  if (options_.calls_per_second <= 0) co_return;
  const TimePoint now = loop_.now();
  const TimePoint turn = std::max(now, next_call_);
  next_call_ = turn + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
                          static_cast<double>(calls) / options_.calls_per_second));
  if (turn > now) co_await loop_.sleep_until(turn);
}

void Healer::note_degraded(const std::string& id) {
  waiting_.insert(id);
  if (wake_ != nullptr) wake_->set(true);
}

void Healer::note_recovered(const std::string& /*region*/) {
  scan_wanted_ = true;
  if (wake_ != nullptr) wake_->set(true);
}

// False when `until` passed without anything new.
Task<bool> Healer::wait_for_work(TimePoint until) {
  OneShot<bool> woken(loop_);
  struct Registration {
    explicit Registration(OneShot<bool>*& place, OneShot<bool>& slot) : place_(place) {
      place_ = &slot;
    }
    ~Registration() { place_ = nullptr; }
    OneShot<bool>*& place_;
  } registration(wake_, woken);
  TaskGroup<bool> group(loop_);
  const auto wait = [](OneShot<bool>& slot) -> Task<bool> { co_return co_await slot; };
  group.start(wait(woken));
  co_return (co_await group.next(until)).has_value();
}

Task<void> Healer::run() {
  Duration back_off = options_.back_off_least;
  TimePoint next_scan = loop_.now() + options_.scan_every;
  for (;;) {
    const bool scan = scan_wanted_ || loop_.now() >= next_scan;
    if (waiting_.empty() && !scan) {
      co_await wait_for_work(next_scan);
      continue;
    }
    // A key that was noted and cannot be healed now stays noted, and is tried again after the
    // pause.
    const std::set<std::string> batch = std::exchange(waiting_, {});
    HealReport report;
    bool incomplete = false;
    for (const auto& id : batch) {
      const TimePoint deadline = loop_.now() + 2 * options_.call_deadline;
      const Outcome outcome = co_await heal(id, deadline, report);
      if (outcome == Outcome::kMissing || outcome == Outcome::kFailed) {
        waiting_.insert(id);
        incomplete = true;
      }
    }
    if (scan) {
      scan_wanted_ = false;
      auto scanned = co_await run_once({}, TimePoint::max());
      next_scan = loop_.now() + options_.scan_every;
      if (scanned) {
        last_scan_ = loop_.clock().wall();
        for (const auto& missing : scanned->missing) waiting_.insert(missing.id);
        incomplete = incomplete || !scanned->missing.empty();
        for (auto& missing : scanned->missing) report.missing.push_back(std::move(missing));
      } else {
        scan_wanted_ = true;
        incomplete = true;
        log_.warn("could not look for keys that lack a region: " + scanned.error().message);
      }
    }
    if (!incomplete) {
      back_off = options_.back_off_least;
      continue;
    }
    for (const auto& missing : report.missing) {
      log_.warn("key " + missing.id + " still lacks a region: " + list_of(missing.regions),
                {{"id", missing.id}});
    }
    co_await loop_.sleep_for(back_off);
    back_off = std::min(2 * back_off, options_.back_off_most);
  }
}

Healer::Status Healer::status() const {
  Status status;
  status.waiting = waiting_.size();
  status.healed = healed_;
  status.failed = failed_;
  status.last_scan = last_scan_;
  return status;
}

}  // namespace keyfs
