// Reads into the page cache that failed after they had waited.
//
// The kernel reads a page ahead, and when that has failed it reads the same page once more, in the
// same system call; a fault that has waited is begun anew as a whole (filemap_get_pages,
// filemap_fault). Whoever made it is to wait for one deadline, not for two or three: what comes
// after the first read takes over when that began.
//
// Thread-safety: all from any thread. Blocking: a short lock. Errors: none. Cost: nothing but for
// reads that wait.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/clock.h"

namespace keyfs {

class LateReads {
 public:
  // The kernel comes again at once, or as soon as the thread gets a CPU.
  static constexpr Duration kSoon = std::chrono::seconds(1);
  // A program that tries again and again is to wait again, and not to be told for ever that it has.
  static constexpr int kRepeats = 3;
  static constexpr size_t kMost = 4096;

  // `thread` waited from `begin` to `now` for a page of this file, and got none.
  void note(pid_t thread, uint64_t id, TimePoint begin, TimePoint now) {
    if (thread == 0) return;  // of another PID namespace: it might be anybody
    std::lock_guard lock(mutex_);
    if (late_.size() >= kMost) {
      std::erase_if(late_, [&](const auto& one) { return one.second.failed + kSoon < now; });
    }
    if (late_.size() < kMost) late_[thread] = {id, begin, now, kRepeats};
  }

  // When the read began that this one repeats.
  std::optional<TimePoint> take(pid_t thread, uint64_t id, TimePoint now) {
    std::lock_guard lock(mutex_);
    const auto found = late_.find(thread);
    if (found == late_.end()) return std::nullopt;
    const Late late = found->second;
    if (--found->second.left == 0 || late.id != id) late_.erase(found);
    if (late.id != id || late.failed + kSoon < now) return std::nullopt;
    return late.begin;
  }

 private:
  struct Late {
    uint64_t id;
    TimePoint begin;
    TimePoint failed;
    int left;
  };
  std::mutex mutex_;
  std::unordered_map<pid_t, Late> late_;
};

}  // namespace keyfs
