// This host's own copy of the records it has seen (ciphertext only): for when the store is out, and
// as the memory that a record is held against later (fs/keys/host_memory.h). Survives a restart. A
// failure of its disk is logged and counted, holds up no read, and stops creations: what it can't
// tell is not taken for "never seen".
//
// What is noted is told by recall() at once and written behind, since the disk must not hold up a
// read. What decides is synchronous: nothing is taken in place of what is remembered, here or on
// the disk, that takes it back. So what a crash can lose is what was first read in the moments
// before it (in all of the time that its disk has failed, which is logged), never what was written.
//
// Each record carries the time at which the store last confirmed it, strongly consistently, by the
// wall clock, since it must hold after a reboot: a record is given out for serve_stale_for after
// that and no longer. One that was only ever read from answers that may be old counts from the
// first of them. A confirmation that lies in the future (a clock that was set back) is too old.
//
// Thread-safety: none; on the loop's thread, status() and trouble() excepted. The disk is touched
// by the replica's workers only: one reads, one writes, so that no read waits for a sync.
// Ownership: owns its workers; refers to loop and log; Loop::shutdown() comes first. Blocking:
// open() does, all else never. Errors: get() tells kUnavailable, kCorrupt as store::get would; notes have none.
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
#include "fs/keys/host_memory.h"
#include "store/store.h"

namespace keyfs {

class Replica final : public HostMemory {
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
  // the daemon goes on with a BrokenMemory then. A damaged file is set aside as PATH.damaged: what
  // it knew is lost, so that nothing is created until an operator removes it. `hash` has a key that
  // callers do not know.
  static Result<std::unique_ptr<Replica>> open(Loop& loop, Log& log, const std::string& path,
                                               const SipHash& hash = {});
  ~Replica() override;
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  // What the replica has for an id, whatever its age.
  Task<Result<std::optional<Found>>> get(std::string id);

  // HostMemory. A note that says nothing new is not written more often than once a minute.
  Task<Recall> recall(std::string id) override;
  void note(const Stored& stored, bool strong = true) override;
  Task<Result<void>> kept(std::string id) override;
  void doubt(const std::string& id) override;
  // While a watch is live, every record noted since `on_live(true)` counts as confirmed now.
  void on_live(bool live) override;
  // Changes may have been missed: records are as old as their last confirmation again.
  void on_gap() override;
  std::string trouble() const override;
  std::string forget() const override;

  // Waits until everything noted so far is on disk, or the disk has refused it; for a clean end,
  // and for tests.
  Task<void> flush();

  Status status() const;

 private:
  struct Impl;
  explicit Replica(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The file that is a damaged replica set aside: as long as it lies there, what this host has seen
// can't be told for certain. Empty: there is none. Blocking: stat(2).
std::string damaged_replica(const std::string& path);
// What HostMemory::forget() tells of a replica.
std::string how_to_forget(const std::string& path);

}  // namespace keyfs
