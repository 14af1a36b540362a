// Spreads calls to the regions over time: what works in the background must not take their quota
// from those who wait for a key.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to the loop. Blocking: never; take()
// is a task. Errors: none.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "base/clock.h"
#include "base/loop.h"
#include "base/task.h"

namespace keyfs {

class CallPace {
 public:
  explicit CallPace(Loop& loop) : loop_(loop) {}

  // Done when so many calls may be made. Each delays the following ones by its share of a second;
  // 0: no limit.
  Task<void> take(size_t calls, double per_second) {
    if (per_second <= 0) co_return;
    const TimePoint now = loop_.now();
    const TimePoint turn = std::max(now, next_);
    next_ = turn + std::chrono::duration_cast<Duration>(
                       std::chrono::duration<double>(static_cast<double>(calls) / per_second));
    if (turn > now) co_await loop_.sleep_until(turn);
  }

 private:
  Loop& loop_;
  TimePoint next_{};
};

}  // namespace keyfs
