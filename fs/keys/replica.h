// This host's own copy of the records it has seen (ciphertext only): for when the store is down,
// and as the memory that later records are compared with (fs/keys/host_memory.h). Survives
// restarts. A failure of its disk is logged and counted, does not hold up reads, and stops
// creations: unknown is not "never seen".
//
// recall() sees notes immediately; they are written in the background, since the disk must not hold
// up reads. The comparison is synchronous: nothing that goes back replaces what is remembered, in
// memory or on disk. So a crash can lose only what was first read just before it (or while the disk
// was failing, which is logged), never what was written.
//
// Each record carries the time at which the store last confirmed it, strongly consistently, by the
// wall clock, since it must survive a reboot: a record is used for serve_stale_for after that and
// no longer. One that was only ever read from answers that may be stale counts from the first of
// them. A confirmation in the future (the clock was set back) counts as too old.
//
// Thread-safety: none; on the loop's thread, status() and trouble() excepted. Only the replica's
// workers touch the disk: one reads, one writes, so that no read waits for a sync. Ownership: owns
// its workers; refers to loop and log; call Loop::shutdown() before destroying it. Blocking: only
// open(). Errors: see open() and get(); notes have none.
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
    Duration age;           // since the store last confirmed it; Duration::max() if unknown
    bool unproven = false;  // only seen: Sighting::kUnproven
  };
  struct Status {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t errors = 0;
    std::string last_error;
  };
  // Calls that are waiting for the disk. On the loop's thread.
  size_t under_way() const;

  // Blocks on the disk. `path`: a file of mode 0600, created if it does not exist. kUnavailable if
  // it is not usable; the daemon then uses a BrokenMemory. A damaged file is set aside as
  // PATH.damaged: what it knew is lost, so nothing is created until an operator removes it. `hash`
  // has a key that callers do not know.
  static Result<std::unique_ptr<Replica>> open(Loop& loop, Log& log, const std::string& path,
                                               const SipHash& hash = {});
  ~Replica() override;
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  // The replica's record for an id, whatever its age; nullopt: none. kUnavailable and kCorrupt as
  // Store::get would.
  Task<Result<std::optional<Found>>> get(std::string id);

  // HostMemory. A note with nothing new is written at most once a minute.
  Task<Recall> recall(std::string id) override;
  void note(const Stored& stored, bool strong = true) override;
  void note_seen(const std::string& id, Sighting what) override;
  Task<Result<void>> kept(std::string id) override;
  void doubt(const std::string& id) override;
  // While a watch is live, every record noted since `on_live(true)` counts as confirmed now.
  void on_live(bool live) override;
  // Changes may have been missed: the age of records counts from their last confirmation again.
  void on_gap() override;
  std::string trouble() const override;
  std::string forget() const override;

  // Waits until everything noted so far is on disk, or writing it failed; for a clean exit, and for
  // tests.
  Task<void> flush();

  Status status() const;

 private:
  struct Impl;
  explicit Replica(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The path of a damaged replica that was set aside: as long as it exists, this host cannot be
// certain what it has seen. Empty: there is none. Blocking: stat(2).
std::string damaged_replica(const std::string& path);
// The text of HostMemory::forget() for a replica.
std::string how_to_forget(const std::string& path);

}  // namespace keyfs
