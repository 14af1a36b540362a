// Fills in what a key lacks: wraps in regions that were out when it was made, or that were added to
// the configuration since.
//
// For each record: unwrap from any region, compare the check value, wrap in the missing regions,
// replace the record by its revision. The plaintext never changes. A wrap that exists is never
// touched, not even one that is suspect: it is told of.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: per key, in the report; kUnavailable and the like of the store when the
// pass itself cannot go on.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

struct HealOptions {
  double calls_per_second = 5;  // to all regions together; 0: no bound
  Duration call_deadline = std::chrono::seconds(10);
  Duration scan_every = std::chrono::hours(6);
  Duration back_off_least = std::chrono::seconds(5);
  Duration back_off_most = std::chrono::minutes(10);
};

struct HealReport {
  struct Missing {
    std::string id;
    std::vector<RegionFailure> regions;  // still missing, each with its reason
  };
  struct Failure {
    std::string id;
    Error error;
  };
  size_t keys = 0;    // looked at
  size_t whole = 0;   // lacked nothing
  size_t healed = 0;  // lack nothing any more
  std::vector<Missing> missing;
  std::vector<Failure> failures;  // could not be read, corrupt, changed under our hands

  bool complete() const { return missing.empty() && failures.empty(); }
};

class Healer {
 public:
  Healer(Loop& loop, Store& store, Regions& regions, Log& log, HealOptions options);

  // One pass over `ids`, or over every key of the store when it is empty: `keyfs heal`.
  Task<Result<HealReport>> run_once(std::vector<std::string> ids, TimePoint deadline);

  // The background task: works off what was noted, goes through the whole store now and then.
  // Endless; spawn it.
  Task<void> run();
  // A record that lacks a region was seen.
  void note_degraded(const std::string& id);
  // A region's breaker has closed: what it lacks can be filled in now.
  void note_recovered(const std::string& region);

  struct Status {
    size_t waiting = 0;   // keys known to be degraded
    uint64_t healed = 0;  // since the start
    uint64_t failed = 0;
    std::optional<WallTime> last_scan;
  };
  Status status() const;

 private:
  enum class Outcome { kWhole, kHealed, kMissing, kFailed };
  Task<Outcome> heal(std::string id, TimePoint deadline, HealReport& report);
  Task<void> take_calls(size_t calls);
  Task<bool> wait_for_work(TimePoint until);

  Loop& loop_;
  Store& store_;
  Regions& regions_;
  Log& log_;
  const HealOptions options_;
  TimePoint next_call_{};
  std::set<std::string> waiting_;
  bool scan_wanted_ = false;
  uint64_t healed_ = 0;
  uint64_t failed_ = 0;
  std::optional<WallTime> last_scan_;
  OneShot<bool>* wake_ = nullptr;
};

}  // namespace keyfs
