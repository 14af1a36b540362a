// keyfs rewrap: wraps keys anew under the masters and regions of today's configuration, all versions
// that are not destroyed. An operation of a pass over records (fs/upkeep/pass.h).
//
// A version is wrapped in each configured region where it has no wrap, where another master made it,
// or where it was made before `older_than` (KMS's own rotation of a master keeps its ARN, so that
// only the time tells). A new wrap takes the old one's place only once its region has unwrapped it
// (fs/upkeep/new_wraps.h), and the plaintext never changes. With `drop`, a region's wraps are
// removed: from a version only if the remaining ones were unwrapped just now, by at least
// create_min_regions regions, one at the least. A second run finds nothing to do.
//
// What is to be done is planned from the record alone. So a dry run, which asks no region and writes
// nothing, counts what a run would do.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: of a key in the report; see run().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"
#include "fs/upkeep/call_pace.h"
#include "fs/upkeep/pass.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

struct RewrapOptions {
  double calls_per_second = 5;  // to all regions together; 0: no limit
  Duration call_deadline = std::chrono::seconds(10);
  std::optional<WallTime> older_than;
  std::string drop;  // a region; empty: none
  bool dry_run = false;
};

struct RewrapReport {
  struct Key {
    std::string id;
    std::vector<RegionFailure> regions;
  };
  struct Failure {
    std::string id;
    Error error;
  };
  size_t keys = 0;     // examined
  size_t whole = 0;    // nothing was to be done
  size_t changed = 0;  // of which something was done; in a dry run: would be
  size_t rkms = 0;     // RKMS records left unchanged
  // Of changed keys.
  size_t versions = 0;
  size_t wraps = 0;    // new ones
  size_t dropped = 0;  // wraps removed
  // Calls to regions, and of these the ones that are charged for.
  size_t calls = 0;
  size_t charged = 0;
  std::vector<Key> left;          // wraps that could not be made, or not be dropped
  std::vector<Failure> failures;  // unreadable, corrupt, or changed by others
  std::vector<Failure> unnoted;   // changed, and this host's memory was not told
  std::optional<Error> unseen;    // why it was not told of keys that were only looked at

  bool complete() const { return left.empty() && failures.empty(); }
};

class Rewrap {
 public:
  // The masters must be known (Regions::keep_warm). `memory` and `notebook`: this host's.
  Rewrap(Loop& loop, Store& store, Regions& regions, Log& log, RewrapOptions options,
         HostMemory& memory, Notebook& notebook);

  // Told where the next page of a pass over all keys begins, as long as nothing has failed.
  using PageDone = std::function<void(const std::string& next)>;
  // Over `ids`, or over every key of the store after `after` if it is empty. The store's errors, if
  // the pass cannot continue; what was done until then is in report().
  Task<Result<void>> run(std::vector<std::string> ids, std::string after, PageDone page_done,
                         TimePoint deadline);
  const RewrapReport& report() const { return report_; }

 private:
  class Operation;
  // What is to be done to one version.
  struct Plan {
    uint32_t version = 0;
    std::vector<std::string> wrap_in;
    std::vector<std::string> prove;  // wraps that stay, before one is dropped
    bool drop = false;
  };
  struct Calls {
    size_t all = 0;
    size_t charged = 0;
  };
  // What became of one key.
  struct Attempt {
    size_t versions = 0;
    size_t wraps = 0;
    size_t dropped = 0;
    Calls calls;
    std::vector<RegionFailure> left;
    std::optional<Error> error;  // of a version that could not be unwrapped
  };

  std::vector<Plan> plan(const Record& record) const;
  bool can_unwrap(const Version& version) const;
  std::vector<std::string> wanting(const WrappedKeys& wraps, const Version& version) const;
  bool is_old(const Wrap& wrap) const;
  Calls calls_of(const Plan& plan, const Version& version) const;
  Task<void> carry_out(const Plan& plan, Record& record, TimePoint deadline, Attempt& done);
  // Removes the region's wrap if the remaining ones are good.
  Task<void> drop(const Plan& plan, size_t proven, Record& record, TimePoint deadline,
                  Attempt& done);
  // Regions that did not answer are left alone for a while: each would cost every key a deadline.
  std::optional<Error> why_out(const std::string& region) const;
  void learn(const std::string& region, const Error& error);
  void tell(const std::string& id, const PassEnd& end, Attempt& done);
  TimePoint call_until(TimePoint deadline) const;

  Loop& loop_;
  Regions& regions_;
  const RewrapOptions options_;
  Pass pass_;
  CallPace pace_;
  struct Outage {
    Error error;
    TimePoint until;
  };
  std::map<std::string, Outage> outages_;
  RewrapReport report_;
};

}  // namespace keyfs
