#include "fs/upkeep/healer.h"

#include <algorithm>
#include <utility>

#include "base/race.h"
#include "base/retry.h"
#include "fs/keys/in_keeping.h"
#include "fs/upkeep/record_changes.h"

namespace keyfs {
namespace {

constexpr size_t kPage = 200;
// How often a record that others keep changing is retried.
constexpr int kTries = 3;
// Keys noted beyond this number are left to the next scan.
constexpr size_t kMostWaiting = 100'000;

std::string list_of(const std::vector<RegionFailure>& failures) {
  std::string text;
  for (const auto& failure : failures) {
    if (!text.empty()) text += "; ";
    text += failure.region + ": " + failure.error.message;
  }
  return text;
}

std::vector<std::string> names_of(const std::vector<RegionFailure>& failures) {
  std::vector<std::string> names;
  for (const auto& failure : failures) {
    if (std::find(names.begin(), names.end(), failure.region) == names.end()) {
      names.push_back(failure.region);
    }
  }
  return names;
}

// The failure is not specific to this key: the next one would fail as well.
bool concerns_all(const Error& error) {
  return error.code == Code::kUnavailable || error.code == Code::kTimeout ||
         error.code == Code::kThrottled;
}

}  // namespace

Healer::Healer(Loop& loop, Store& store, Regions& regions, Log& log, HealOptions options,
               HostMemory* memory, Notebook* notebook)
    : loop_(loop),
      store_(store),
      regions_(regions),
      log_(log),
      options_(options),
      memory_(memory),
      notebook_(notebook),
      next_scan_(loop.now() + options.first_scan) {}

Task<Result<HealReport>> Healer::run_once(std::vector<std::string> ids, TimePoint deadline) {
  HealReport report;
  const auto gone = co_await go_through(std::move(ids), deadline, report);
  co_await write_seen(deadline);
  report.unseen = std::exchange(unseen_, std::nullopt);
  if (!gone) co_return fail(gone.error());
  co_return report;
}

Task<Result<void>> Healer::go_through(std::vector<std::string> ids, TimePoint deadline,
                                      HealReport& report) {
  if (ids.empty()) {
    if (options_.adopt) report.rkms_left = 0;
    co_return co_await scan(deadline, report);
  }
  // A store that is silent would cost a whole deadline for each key.
  std::optional<Error> silent;
  for (auto& id : ids) {
    if (silent) {
      ++report.keys;
      ++failed_;
      report.failures.push_back({std::move(id), *silent});
      continue;
    }
    const Attempt done = co_await heal(std::move(id), options_.verify, deadline, report);
    if (done.store_silent) {
      silent.emplace(Code::kTimeout, "was not tried, since the store does not answer");
    }
  }
  co_return Result<void>();
}

Task<Result<void>> Healer::scan(TimePoint deadline, HealReport& report) {
  std::string after;
  for (;;) {
    auto page = co_await store_.list(after, kPage, call_until(deadline));
    if (!page) co_return fail(page.error().within("could not go through the keys"));
    for (const auto& entry : page->entries) {
      if (entry.state == KeyState::kDeleted) continue;
      // The list shows the current version's regions; only records that may lack something are
      // read.
      const bool whole =
          !options_.verify && !entry.corrupt && !entry.from_rkms && wanting(entry.masters).empty();
      if (whole) {
        ++report.keys;
        ++report.whole;
      } else if (entry.from_rkms && !options_.adopt) {
        ++report.keys;
        ++report.rkms;
      } else {
        const Attempt done = co_await heal(entry.id, options_.verify, deadline, report);
        const bool failed = done.outcome == Outcome::kFailed || done.outcome == Outcome::kConflict;
        if (entry.from_rkms && failed && !done.adopted && report.rkms_left) ++*report.rkms_left;
        if (done.store_silent) co_return fail(done.error->within("could not go through the keys"));
      }
      if (loop_.now() >= deadline) {
        co_return fail(Code::kTimeout, "could not read all keys: the deadline passed after " +
                                           std::to_string(report.keys));
      }
    }
    if (!page->next) break;
    after = std::move(*page->next);
  }
  co_return Result<void>();
}

// Repeats until no other process changes the record in between; counts and reports.
Task<Healer::Attempt> Healer::heal(std::string id, bool verify, TimePoint deadline,
                                   HealReport& report) {
  ++report.keys;
  Attempt done;
  for (int tries = 0; tries < kTries; ++tries) {
    done = co_await attempt(id, verify, deadline);
    if (done.outcome != Outcome::kConflict) break;
    log_.info("the record of key " + id + " was changed by another process", {{"id", id}});
  }
  if (done.outcome == Outcome::kConflict) {
    done.outcome = Outcome::kFailed;
    done.error.emplace(Code::kUnavailable, "other processes keep changing the record of key " + id);
  }
  if (done.adopted) {
    ++report.adopted;
    log_.info("key " + id + " was converted from an RKMS record", {{"id", id}});
  }
  tell_mended(id, done);
  const bool mended = !done.mended.empty();
  if (!done.unverified.empty()) report.unverified.push_back({id, done.unverified});
  if (done.not_noted) report.unnoted.push_back({id, *done.not_noted});
  switch (done.outcome) {
    case Outcome::kWhole:
      if (mended) {
        ++healed_;
        ++report.mended;
      } else if (!done.adopted && done.unverified.empty()) {
        ++report.whole;
      }
      break;
    case Outcome::kRkms:
      ++report.rkms;
      break;
    case Outcome::kHealed:
      ++healed_;
      mended ? ++report.mended : ++report.healed;
      log_.info("key " + id + " is now wrapped in every region", {{"id", id}});
      break;
    case Outcome::kMissing:
      report.missing.push_back({id, done.missing});
      break;
    case Outcome::kAbsent:
      report.failures.push_back({id, no_such_key(id)});
      break;
    case Outcome::kFailed:
    case Outcome::kConflict:
      ++failed_;
      report.failures.push_back({id, *done.error});
      break;
  }
  co_return done;
}

Task<Healer::Attempt> Healer::attempt(std::string id, bool verify, TimePoint deadline) {
  Attempt done;
  auto found = co_await store_.get(id, Read::kStrong, call_until(deadline));
  if (!found || !*found) {
    done.outcome = found ? Outcome::kAbsent : Outcome::kFailed;
    if (!found) {
      done.error = found.error().within("could not heal key " + id);
      done.store_silent = found.error().code == Code::kTimeout;
      if (found.error().code == Code::kCorrupt) {
        co_await see(id, sighting_of(found.error()), deadline);
      }
    }
    co_return done;
  }
  Stored stored = std::move(**found);
  co_await see(id, sighting_of(stored.record), deadline);
  Record& record = stored.record;
  // Deleted keys need no more copies.
  if (record.state == KeyState::kDeleted) co_return done;
  if (record.from_rkms && !options_.adopt) {
    done.outcome = Outcome::kRkms;
    co_return done;
  }
  if (memory_ != nullptr && !record.from_rkms) {
    auto right =
        co_await in_keeping(loop_, store_, *memory_, std::move(stored), call_until(deadline));
    if (!right || !*right) {
      done.outcome = right ? Outcome::kAbsent : Outcome::kFailed;
      if (!right) done.error = right.error().within("key " + id + " is left as it is");
      co_return done;
    }
    stored = std::move(**right);
    if (record.state == KeyState::kDeleted) co_return done;
  }
  const Record before = record;
  auto filled = record.from_rkms ? take_over(record, deadline) : fill_in(record, deadline);
  done = co_await std::move(filled);
  const bool keyfs_own = !before.from_rkms;
  if (keyfs_own && (verify || done.suspect)) co_await mend(record, deadline, done);
  if (record == before) co_return done;

  // Keeps what succeeded, even if another version failed.
  auto replaced = co_await store_.replace(std::move(record), stored.revision, call_until(deadline));
  if (!replaced) {
    done.outcome = Outcome::kFailed;
    done.adopted = false;
    done.mended.clear();
    done.error = replaced.error().within("could not heal key " + id);
  } else if (!*replaced) {
    done.outcome = Outcome::kConflict;
    done.adopted = false;
    done.mended.clear();
  } else {
    auto untold = co_await note(std::move(**replaced), deadline);
    if (!untold) co_return done;
    if (done.adopted) {
      done.outcome = Outcome::kFailed;
      done.error.emplace(
          untold->code,
          "key " + id + " was adopted, and this host's memory was not told: " + untold->message);
    } else {
      done.not_noted = std::move(untold);
    }
  }
  co_return done;
}

TimePoint Healer::call_until(TimePoint deadline) const {
  return std::min(deadline, loop_.now() + options_.call_deadline);
}

// Spreads calls over time: each delays the following ones by its share of a second.
Task<void> Healer::take_calls(size_t calls, double per_second) {
  if (per_second <= 0) co_return;
  const TimePoint now = loop_.now();
  const TimePoint turn = std::max(now, next_call_);
  next_call_ = turn + std::chrono::duration_cast<Duration>(
                          std::chrono::duration<double>(static_cast<double>(calls) / per_second));
  if (turn > now) co_await loop_.sleep_until(turn);
}

bool Healer::is_out(const std::string& region) const {
  const auto outage = outages_.find(region);
  return outage != outages_.end() && outage->second.until > loop_.now();
}

TimePoint Healer::next_try(unsigned failures) const {
  const Backoff backoff{options_.back_off_least, options_.back_off_most};
  return loop_.now() + backoff.longest(failures - 1);
}

void Healer::note_degraded(const std::string& id, bool suspect) {
  if (waiting_.size() >= kMostWaiting) return;
  const auto [place, is_new] = waiting_.try_emplace(id);
  place->second.suspect |= suspect;
  if (!is_new) return;
  by_due_.emplace(place->second.due, place->first);
  if (wake_ != nullptr) wake_->set(true);
}

void Healer::note_recovered(const std::string& region) {
  outages_.erase(region);
  by_due_.clear();
  for (auto& [id, waiting] : waiting_) {
    waiting.due = loop_.now();
    waiting.failures = 0;
    by_due_.emplace(waiting.due, id);
  }
  // Regions that come and go must not cause scan after scan.
  const TimePoint now = loop_.now();
  const TimePoint soon = scanned_at_ ? std::max(now, *scanned_at_ + options_.scan_pause) : now;
  next_scan_ = std::min(next_scan_, soon);
  if (wake_ != nullptr) wake_->set(true);
}

// A key that could not be healed is retried when its regions may be back, or after its own pause.
void Healer::postpone(const std::string& id, const Attempt& attempt) {
  if (waiting_.size() >= kMostWaiting && !waiting_.contains(id)) return;
  const auto [place, is_new] = waiting_.try_emplace(id);
  Waiting& waiting = place->second;
  auto regions = names_of(attempt.missing);
  if (attempt.outcome == Outcome::kMissing && regions != waiting.regions) {
    log_.warn("key " + id + " lacks a region: " + list_of(attempt.missing), {{"id", id}});
  } else if (attempt.outcome == Outcome::kFailed && waiting.failures == 0) {
    log_.warn(attempt.error->message, {{"id", id}});
  }
  waiting.regions =
      attempt.outcome == Outcome::kMissing ? std::move(regions) : std::vector<std::string>();
  set_due(place, next_try(++waiting.failures));
}

void Healer::set_due(Place place, TimePoint due) {
  by_due_.erase({place->second.due, place->first});
  place->second.due = due;
  by_due_.emplace(due, place->first);
}

void Healer::forget(Place place) {
  by_due_.erase({place->second.due, place->first});
  waiting_.erase(place);
}

TimePoint Healer::next_due() const {
  return by_due_.empty() ? TimePoint::max() : by_due_.begin()->first;
}

Task<void> Healer::wait_for_work(TimePoint until) {
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
  co_await group.next(until);
}

// Tries all keys that are due.
Task<void> Healer::work_off() {
  std::vector<std::string> due;
  for (const auto& [at, id] : by_due_) {
    if (at > loop_.now()) break;
    due.emplace_back(id);
  }
  for (const auto& id : due) {
    const auto place = waiting_.find(id);
    if (place == waiting_.end()) continue;
    // While all regions that it lacks are down, nothing is asked, not even the store.
    const Waiting& waiting = place->second;
    const auto& lacks = waiting.regions;
    if (!lacks.empty() && std::all_of(lacks.begin(), lacks.end(),
                                      [&](const auto& region) { return is_out(region); })) {
      TimePoint back = TimePoint::max();
      for (const auto& region : lacks) back = std::min(back, outages_.at(region).until);
      set_due(place, back);
      continue;
    }
    HealReport report;
    const Attempt done = co_await heal(id, waiting.suspect, TimePoint::max(), report);
    // The wrap that was seen to be wrong may be one of those that could not be verified.
    const bool in_doubt = !done.unverified.empty() && done.mended.empty();
    if (done.outcome == Outcome::kMissing || done.outcome == Outcome::kFailed || in_doubt) {
      postpone(id, done);
    } else if (const auto done_with = waiting_.find(id); done_with != waiting_.end()) {
      forget(done_with);
    }
    // The store or all regions are down: an occasional try is enough.
    if (done.error && concerns_all(*done.error)) co_await loop_.sleep_for(options_.back_off_least);
  }
}

Task<void> Healer::scan_all() {
  HealReport report;
  auto scanned = co_await scan(TimePoint::max(), report);
  scanned_at_ = loop_.now();
  next_scan_ = *scanned_at_ + options_.scan_every;
  Attempt attempt;
  attempt.outcome = Outcome::kMissing;
  for (auto& missing : report.missing) {
    attempt.missing = std::move(missing.regions);
    postpone(missing.id, attempt);
  }
  attempt.outcome = Outcome::kFailed;
  for (auto& failure : report.failures) {
    attempt.missing.clear();
    attempt.error = std::move(failure.error);
    postpone(failure.id, attempt);
  }
  if (scanned) {
    last_scan_ = loop_.clock().wall();
  } else {
    next_scan_ = *scanned_at_ + options_.scan_pause;
    log_.warn("could not look for keys that lack a region: " + scanned.error().message);
  }
}

Task<void> Healer::run() {
  for (;;) {
    co_await work_off();
    if (loop_.now() >= next_scan_) {
      co_await scan_all();
    } else if (const TimePoint until = std::min(next_due(), next_scan_); until > loop_.now()) {
      co_await wait_for_work(until);
    }
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
