// Fills in a key's missing wraps: in regions that were down when it was created, or that were added
// to the configuration later.
//
// It is an operation of a pass over records (fs/upkeep/pass.h). For each record: unwrap from any region, compare the check value, wrap in the missing regions,
// replace the record by its revision. The plaintext never changes. A wrap that exists gives way to
// a new one only if it is certainly broken (fs/upkeep/mend_wraps.h), which is looked for where a wrap
// was seen to be, and with `verify` in every key. So does a wrap by a master that the configuration
// calls a previous one of its region, and, only with `rewrap`, an operator's word, by any that is no
// longer its region's: two daemons of which one has other masters would undo each other's work for
// ever. A wrap that takes another's place is unwrapped by its region first. A region lacks nothing that another
// replica of its multi-Region key has wrapped. A record that another writer changed meanwhile is
// looked at again. A record that took back what this host's memory knows of it is left alone, and
// what was filled in is noted there. With `adopt`, what RKMS wrote is taken over too
// (fs/upkeep/adoption.h), unless this host's memory knows a record of keyfs's under that id, or
// can't tell.
//
// A region that could not wrap a key is paused, twice as long each time, and so are all keys that
// lack only this region; its recovery (note_recovered) ends the pause. A key that fails for its own
// reason is paused individually, also twice as long each time.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: see run_once(); run() only logs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"
#include "fs/upkeep/call_pace.h"
#include "fs/upkeep/mend_wraps.h"
#include "fs/upkeep/pass.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

struct HealOptions {
  double calls_per_second = 5;  // to all regions together; 0: no limit
  Duration call_deadline = std::chrono::seconds(10);
  // Keys that lacked a region when the previous daemon ended are not known yet.
  Duration first_scan = std::chrono::minutes(1);
  Duration scan_every = std::chrono::hours(6);
  // Least time between two scans, however often regions come and go.
  Duration scan_pause = std::chrono::minutes(1);
  Duration back_off_least = std::chrono::seconds(5);
  Duration back_off_most = std::chrono::minutes(10);
  bool adopt = false;   // take over what RKMS wrote
  bool rewrap = false;  // anew where the region's master is another one now
  // Has every region unwrap its wrap of every version, and mends those that are broken.
  bool verify = false;
  // The pace of these unwraps; 0: as calls_per_second.
  double verify_calls_per_second = 0;
  // Whether it is this host's to look through the whole store: of many hosts one does it. Asked when
  // a scan is due, and each `ask_every` until it is; a scan that was begun goes to its end. Null: it
  // is.
  std::function<bool()> may_scan = nullptr;
  Duration ask_every = std::chrono::seconds(10);
  // Shared by all that works in the background, and outlives the healer; null: its own.
  CallPace* pace = nullptr;
};

struct HealReport {
  struct Missing {
    std::string id;
    std::vector<RegionFailure> regions;  // still missing, with reasons
  };
  struct Failure {
    std::string id;
    Error error;
  };
  size_t keys = 0;     // examined
  size_t whole = 0;    // were complete, and none of their wraps is known to be broken
  size_t healed = 0;   // are complete now
  size_t mended = 0;   // had broken wraps, which were replaced; none of the former two
  size_t adopted = 0;  // were converted from RKMS
  size_t rkms = 0;     // RKMS records left unchanged
  // After an adopting pass over all keys: how many RKMS records are left.
  std::optional<size_t> rkms_left;
  std::vector<Missing> missing;
  std::vector<Missing> unverified;  // wraps that could not be verified, with reasons
  std::vector<Failure> failures;    // unreadable, corrupt, or changed by others
  std::vector<Failure> unnoted;     // healed, and this host's memory was not told
  std::optional<Error> unseen;      // why it was not told of keys that were only looked at

  bool complete() const { return missing.empty() && unverified.empty() && failures.empty(); }
};

class Healer {
 public:
  // `memory` and `notebook`: this host's. A command has both; a daemon's memory notes by itself.
  // Without both nothing is adopted.
  Healer(Loop& loop, Store& store, Regions& regions, Log& log, HealOptions options,
         HostMemory* memory = nullptr, Notebook* notebook = nullptr);

  // One pass over `ids`, or over every key of the store if it is empty: `keyfs heal`. Errors of a
  // key are in the report; the store's (kUnavailable and the like), if the pass cannot continue. A
  // pass over every key takes as long as calls_per_second says.
  Task<Result<HealReport>> run_once(std::vector<std::string> ids, TimePoint deadline);

  // The background task: works through what was noted, and, where it may, occasionally scans the
  // whole store. Never ends; spawn it.
  Task<void> run();
  // A record that lacks a region was seen, or (`suspect`) one with a wrap that is not right.
  void note_degraded(const std::string& id, bool suspect = false);
  // A region's breaker has closed: its missing wraps can be filled in now.
  void note_recovered(const std::string& region);

  struct Status {
    size_t waiting = 0;   // keys known to be degraded
    uint64_t healed = 0;  // since start
    uint64_t failed = 0;
    std::optional<WallTime> last_scan;  // by this host
    bool scans = true;                  // whether it is this host's to scan the whole store now
  };
  Status status() const;

 private:
  class Healing;  // the operation
  enum class Outcome { kWhole, kHealed, kMissing, kFailed, kAbsent, kRkms };
  struct Attempt {
    Outcome outcome = Outcome::kWhole;
    std::optional<Error> error;          // kFailed
    std::vector<RegionFailure> missing;  // kMissing
    std::vector<RegionFailure> unverified;
    std::vector<MendedWrap> mended;
    bool suspect = false;  // a wrap was seen to be wrong
    bool adopted = false;
    std::optional<Error> not_noted;  // of what was filled in
  };
  // A region that could not wrap: paused until then.
  struct Outage {
    Error error;
    unsigned failures;
    TimePoint until;
  };
  // A key known to be degraded.
  struct Waiting {
    TimePoint due{};
    unsigned failures = 0;
    std::vector<std::string> regions;  // missing ones, once known
    bool suspect = false;
  };

  Task<Attempt> heal(std::string id, bool verify, TimePoint deadline, HealReport& report);
  // Counts and reports what became of a key.
  void tell(const std::string& id, const Attempt& done, HealReport& report);
  void tell_mended(const std::string& id, const Attempt& done);
  Task<Result<void>> go_through(std::vector<std::string> ids, TimePoint deadline,
                                HealReport& report);
  // The regions that `wraps` should be made in: WrappedKeys, or the masters' names by region.
  template <typename Wraps>
  std::vector<std::string> wanting(const Wraps& wraps) const;
  bool lacks_nothing(const ListPage::Entry& entry) const;  // in any version
  Task<Attempt> fill_in(Record& record, TimePoint deadline);
  // Wraps anew where the wrap's master is not the region's any more.
  Task<void> replace_outdated(Record& record, uint32_t number, const SecretBytes& key,
                              std::vector<std::string> regions, TimePoint deadline, Attempt& done);
  // Mends the broken wraps of `record`, and adds to `done` what became of them.
  Task<void> mend(Record& record, TimePoint deadline, Attempt& done);
  Task<Attempt> take_over(Record& record, TimePoint deadline);
  // Why the RKMS record `record` must not be converted on this host.
  Task<std::optional<Error>> not_ours_to_adopt(const Record& record, TimePoint deadline);
  Task<void> work_off();
  Task<void> scan_all();
  Task<void> wait_for_work(TimePoint until);

  TimePoint call_until(TimePoint deadline) const;
  TimePoint next_try(unsigned failures) const;
  bool is_out(const std::string& region) const;
  void learn(const WrappedMore& more);
  void note_outage(const std::string& region, const Error& error);
  void postpone(const std::string& id, const Attempt& attempt);
  TimePoint next_due() const;
  bool may_scan() const { return !options_.may_scan || options_.may_scan(); }
  // When to scan; while that is another's to do, when to ask again.
  TimePoint next_scan() const;
  // Waiting keys, ordered by when they are due, so that a new one costs no walk over the others.
  using Place = std::map<std::string, Waiting>::iterator;
  void set_due(Place place, TimePoint due);
  void forget(Place place);

  Loop& loop_;
  Store& store_;
  Regions& regions_;
  Log& log_;
  const HealOptions options_;
  HostMemory* const memory_;
  Notebook* const notebook_;
  Pass pass_;
  CallPace own_pace_;
  CallPace& pace_;
  std::map<std::string, Waiting> waiting_;
  std::set<std::pair<TimePoint, std::string_view>> by_due_;  // ids point into `waiting_`
  std::map<std::string, Outage> outages_;
  TimePoint next_scan_{};
  std::optional<TimePoint> scanned_at_;  // its end
  uint64_t healed_ = 0;
  uint64_t failed_ = 0;
  std::optional<WallTime> last_scan_;
  OneShot<bool>* wake_ = nullptr;
};

}  // namespace keyfs
