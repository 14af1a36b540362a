// Rotation over many hosts, as this daemon takes part in it: who uses which keys here, what is done
// with them in a run, and, where this host may run rotations, the work of the lock's holder: runs,
// keys that are rotated by themselves (rotate_every), and old versions that are retired
// (retire_after).
//
// A store whose board is not there (no table, no permission) is a legitimate configuration: then
// there is no rotation over several hosts, which is logged once; whether it has come is looked at
// every few minutes.
//
// Thread-safety: opens() takes openings from any thread; reload() from any; all else on the loop's,
// or before it runs. Ownership: owns all of it, and refers to its parts, which outlive it;
// Loop::shutdown() comes before its end, and the end of whoever tells opens() too. Blocking: build(),
// on the disk of state_dir, and on that of the certificates where there is a webhook.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/audit/open_listener.h"
#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/key_cache.h"
#include "fs/keys/keyring.h"
#include "fs/mount/virtual_files.h"
#include "fs/policy/policy.h"
#include "fs/rotation/rotation.h"
#include "fs/rotation/rotation_status.h"
#include "fs/rotation/waves.h"
#include "fs/upkeep/call_pace.h"
#include "fs/upkeep/healer.h"

namespace keyfs {

struct RotationHostParts {
  Backends& backends;
  KeyCache& cache;
  Keyring& keyring;
  HostMemory& memory;
  const PolicyHolder& policy;
  CallPace& pace;  // of all that works in the background
  Log& log;
};

// By [rotation]; not set: a run goes on whatever fails.
StopAfter stop_after_of(const RotationSettings& settings);

class RotationHost {
 public:
  // `mountpoint`: absolute. Errors: those of random.
  static Result<std::unique_ptr<RotationHost>> build(RotationHostParts parts,
                                                     const Configuration& configuration,
                                                     const std::string& mountpoint);
  ~RotationHost();
  RotationHost(const RotationHost&) = delete;
  RotationHost& operator=(const RotationHost&) = delete;

  const std::string& name() const;  // by which the others know this daemon
  OpenListener& opens();
  // Never ends; spawn it.
  Task<void> run();

  // Whether it is this host's to look through the whole store: it holds the lock, or there is no
  // board, or nobody has held the lock for a while.
  bool may_scan() const;
  // For the healer, which this outlives: only then does it look through the whole store. Where a
  // look is charged for and hosts share it, the first comes a quarter of an hour after the start
  // (a record that somebody reads is healed at once), so that a fleet that is started anew, or a
  // host that is restarted again and again, does not begin with one.
  void share_scans(HealOptions& options);

  // [consumer ...] sections are in force from now on, and the policy that its holder has.
  void reload(ConsumerRules rules);
  // Writes down who uses which keys, for so long at most. At the end, when the loop does not run.
  void save(Duration patience);

  // Null: there is no board.
  const Rotation* rotation() const;
  RotationStatus status() const;
  std::vector<SeenConsumer> consumers();
  // Adds all files under .keyfs/, with what they tell of rotation.
  void show(VirtualFiles& files, Metrics& metrics, StatusParts parts);

 private:
  struct Impl;
  explicit RotationHost(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
