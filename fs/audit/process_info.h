// Which program a caller is, for the audit.
//
// Thread-safety: from any thread; 1,024 slots, each with a lock of its own that is held for the
// copy of a pointer. Ownership: by shared_ptr. Blocking: a hit never, without a system call; a miss
// reads three small files of /proc. Errors: what cannot be read is empty.
//
// get() is called while the caller waits in open(2), so that /proc/<tid> is surely its. An entry is
// reused for kReuse: a process that calls exec meanwhile, or a new one that gets the same number
// within that time, is then still shown as the old program.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/spin_lock.h"

namespace keyfs {

struct ProcessInfo {
  pid_t pid = 0;            // of the process; FUSE tells the thread's
  std::string executable;   // /proc/<tid>/exe; empty when it cannot be read
  std::string cgroup;       // the path in /proc/<tid>/cgroup (of the unified hierarchy where it is)
  std::string described{};  // what ProcessCache's Describe made of the above; may be empty
};

class ProcessCache {
 public:
  static constexpr Duration kReuse = std::chrono::seconds(1);

  // Makes ProcessInfo::described, once for each process rather than for each audit line.
  using Describe = std::function<std::string(const ProcessInfo&)>;

  // `proc` is where procfs is mounted; tests give their own directory.
  explicit ProcessCache(Describe describe, std::string proc = "/proc");

  // Never null.
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
  std::array<Slot, 1024> slots_;
};

}  // namespace keyfs
