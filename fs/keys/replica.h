// This host's own copy of the records it has seen (ciphertext only), for when the store is out.
// Survives a restart. Nothing depends on it: what it does not have is merely not known, and a
// failure of its disk is logged, counted and otherwise ignored.
//
// Each record carries the time at which the store last confirmed it, by the wall clock, since it
// must hold after a reboot: a record is given out for serve_stale_for after that and no longer. A
// confirmation that lies in the future (a clock that was set back) counts as too old.
//
// Thread-safety: none; on the loop's thread, status() excepted. The disk is touched by the
// replica's worker only. Ownership: owns its worker; refers to loop and log; Loop::shutdown() comes
// first. Blocking: open() does, all else never. Errors: get() tells kUnavailable, kCorrupt as
// store::get would; notes have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/siphash.h"
#include "base/task.h"
#include "store/store.h"

namespace keyfs {

class Replica {
 public:
  struct Found {
    Stored stored;
    Duration age;  // since the store last confirmed it; Duration::max() when that cannot be told
  };
  struct Status {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t errors = 0;
    std::string last_error;
  };
  // Calls that wait for the disk now. On the loop's thread.
  size_t under_way() const;

  // `path`: a file of mode 0600, made when it is not there. kUnavailable when it cannot be used;
  // the daemon goes on without a replica then. A damaged file is set aside as PATH.damaged.
  // `hash` has a key that callers do not know.
  static Result<std::unique_ptr<Replica>> open(Loop& loop, Log& log, const std::string& path,
                                               const SipHash& hash = {});
  ~Replica();
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  // What the replica has for an id, whatever its age.
  Task<Result<std::optional<Found>>> get(std::string id);

  // The store has just said that this is the record of its id. Returns at once; a note that says
  // nothing new is not written more often than once a minute.
  void note(const Stored& stored);

  // While a watch is live, every record noted since `on_live(true)` counts as confirmed now.
  void on_live(bool live);
  // Changes may have been missed: records are as old as their last confirmation again.
  void on_gap();
  // The store announced a change that it did not carry: the record here is no longer known to be
  // current.
  void doubt(const std::string& id);

  // Waits until everything noted so far is on disk; for a clean end, and for tests.
  Task<void> flush();

  Status status() const;

 private:
  struct Impl;
  explicit Replica(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
