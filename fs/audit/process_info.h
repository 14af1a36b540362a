// Which program a caller is, for the audit.
//
// Thread-safety: from any thread; 1,024 slots, each with its own lock, held while a pointer is
// copied. Ownership: by shared_ptr. Blocking: see get(). Errors: fields that cannot be read are
// empty.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/spin_lock.h"

namespace keyfs {

struct ProcessInfo {
  pid_t pid = 0;            // of the process; FUSE gives the thread's
  std::string executable;   // /proc/<tid>/exe; empty if it cannot be read
  std::string cgroup;       // the path in /proc/<tid>/cgroup (of the unified hierarchy if there is
                            // one)
  uint64_t serial = 0;      // another one each time that /proc was read
  std::string described{};  // what ProcessCache's Describe built from the above; may be empty
};

class ProcessCache {
 public:
  static constexpr Duration kReuse = std::chrono::seconds(1);

  // Builds ProcessInfo::described, once per process rather than per audit line.
  using Describe = std::function<std::string(const ProcessInfo&)>;

  // `proc` is where procfs is mounted; tests pass their own directory.
  explicit ProcessCache(Describe describe, std::string proc = "/proc");

  // Never null. A hit makes no system call; a miss reads three small files of /proc, which does not
  // wait. Call it before replying: /proc/<tid> is the caller only while it blocks on us. An entry
  // is reused for kReuse: a process that calls exec in that time, or a new one that gets the same
  // number, is still shown as the old program.
  std::shared_ptr<const ProcessInfo> get(pid_t thread, TimePoint now);

 private:
  struct Slot {
    SpinLock spin;
    pid_t thread = 0;
    TimePoint until{};
    std::shared_ptr<const ProcessInfo> info;
  };
  std::shared_ptr<const ProcessInfo> read(pid_t thread) const;

  const Describe describe_;
  const std::string proc_;
  mutable std::atomic<uint64_t> serial_{0};
  std::array<Slot, 1024> slots_;
};

}  // namespace keyfs
