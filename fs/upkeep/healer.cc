#include "fs/upkeep/healer.h"

#include <algorithm>
#include <utility>

#include "base/race.h"
#include "base/retry.h"
#include "fs/upkeep/record_changes.h"

namespace keyfs {
namespace {

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

PassOptions pass_options(const HealOptions& options) {
  PassOptions pass;
  pass.call_deadline = options.call_deadline;
  return pass;
}

}  // namespace

// What is done to each record, and the report of all.
class Healer::Healing final : public RecordOperation {
 public:
  Healing(Healer& healer, bool verify, HealReport& report)
      : healer_(healer), verify_(verify), report_(report) {}

  const Attempt& done() const { return done_; }

  // Only records that may lack something are read.
  bool wants(const ListPage::Entry& entry) override {
    listed_rkms_ = entry.from_rkms;
    const bool whole =
        !verify_ && !entry.corrupt && !entry.from_rkms && healer_.lacks_nothing(entry);
    if (whole) {
      ++report_.keys;
      ++report_.whole;
      return false;
    }
    if (!entry.from_rkms || healer_.options_.adopt) return true;
    ++report_.keys;
    ++report_.rkms;
    return false;
  }

  void begin() override { done_ = Attempt(); }

  bool takes(const Record& record) override { return !record.from_rkms || healer_.options_.adopt; }

  Task<void> apply(Record& record, TimePoint deadline) override {
    const bool keyfs_own = !record.from_rkms;
    auto filled =
        keyfs_own ? healer_.fill_in(record, deadline) : healer_.take_over(record, deadline);
    done_ = co_await std::move(filled);
    if (keyfs_own && (verify_ || done_.suspect)) co_await healer_.mend(record, deadline, done_);
  }

  void finished(const std::string& id, const PassEnd& end) override {
    conclude(id, end);
    healer_.tell(id, done_, report_);
    const bool failed = done_.outcome == Outcome::kFailed;
    if (listed_rkms_ && failed && !done_.adopted && report_.rkms_left) ++*report_.rkms_left;
  }

 private:
  void conclude(const std::string& id, const PassEnd& end) {
    switch (end.what) {
      case PassEnd::What::kAbsent:
        done_.outcome = Outcome::kAbsent;
        break;
      case PassEnd::What::kNotTaken:
        done_.outcome = Outcome::kRkms;
        break;
      case PassEnd::What::kFailed:
        done_.outcome = Outcome::kFailed;
        done_.adopted = false;
        done_.mended.clear();
        done_.error = end.error;
        break;
      case PassEnd::What::kDeleted:  // needs no more copies
      case PassEnd::What::kUnchanged:
        break;
      case PassEnd::What::kWritten:
        if (!end.not_noted) break;
        if (done_.adopted) {
          done_.outcome = Outcome::kFailed;
          done_.error.emplace(end.not_noted->code,
                              "key " + id + " was adopted, and this host's memory was not told: " +
                                  end.not_noted->message);
        } else {
          done_.not_noted = end.not_noted;
        }
        break;
    }
  }

  Healer& healer_;
  const bool verify_;
  HealReport& report_;
  bool listed_rkms_ = false;
  Attempt done_;
};

Healer::Healer(Loop& loop, Store& store, Regions& regions, Log& log, HealOptions options,
               HostMemory* memory, Notebook* notebook)
    : loop_(loop),
      store_(store),
      regions_(regions),
      log_(log),
      options_(std::move(options)),
      memory_(memory),
      notebook_(notebook),
      pass_(loop, store, log, pass_options(options_), memory, notebook),
      own_pace_(loop),
      pace_(options_.pace != nullptr ? *options_.pace : own_pace_),
      next_scan_(loop.now() + options_.first_scan) {}

Task<Result<HealReport>> Healer::run_once(std::vector<std::string> ids, TimePoint deadline) {
  HealReport report;
  const auto gone = co_await go_through(std::move(ids), deadline, report);
  report.unseen = co_await pass_.end(deadline);
  if (!gone) co_return fail(gone.error());
  co_return report;
}

Task<Result<void>> Healer::go_through(std::vector<std::string> ids, TimePoint deadline,
                                      HealReport& report) {
  Healing healing(*this, options_.verify, report);
  if (ids.empty()) {
    if (options_.adopt) report.rkms_left = 0;
    std::string from_the_start;
    co_return co_await pass_.all(std::move(from_the_start), healing, deadline);
  }
  co_await pass_.named(std::move(ids), healing, deadline);
  co_return Result<void>();
}

Task<Healer::Attempt> Healer::heal(std::string id, bool verify, TimePoint deadline,
                                   HealReport& report) {
  Healing healing(*this, verify, report);
  co_await pass_.one(std::move(id), healing, deadline);
  co_return healing.done();
}

void Healer::tell(const std::string& id, const Attempt& done, HealReport& report) {
  ++report.keys;
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
      ++failed_;
      report.failures.push_back({id, *done.error});
      break;
  }
}

TimePoint Healer::call_until(TimePoint deadline) const {
  return std::min(deadline, loop_.now() + options_.call_deadline);
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
  Healing healing(*this, options_.verify, report);
  std::string from_the_start;  // named, since g++ 12 may destroy a temporary in a co_await twice
  auto scanned = co_await pass_.all(std::move(from_the_start), healing, TimePoint::max());
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

TimePoint Healer::next_scan() const {
  return loop_.now() < next_scan_ || may_scan() ? next_scan_ : loop_.now() + options_.ask_every;
}

Task<void> Healer::run() {
  for (;;) {
    co_await work_off();
    const TimePoint scan = next_scan();
    if (loop_.now() >= scan) {
      co_await scan_all();
    } else if (const TimePoint until = std::min(next_due(), scan); until > loop_.now()) {
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
  status.scans = may_scan();
  return status;
}

}  // namespace keyfs
