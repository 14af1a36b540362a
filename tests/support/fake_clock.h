// A clock that does not advance until told to.
//
// Thread-safety: all, from any thread. Blocking: never.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace keyfs {

class FakeClock final : public Clock {
 public:
  TimePoint now() const override { return TimePoint(Duration(ticks_.load())); }
  // Advances with now().
  WallTime wall() const override {
    constexpr std::chrono::seconds kEpoch{1'800'000'000};  // an instant in 2027
    return WallTime(kEpoch + std::chrono::duration_cast<std::chrono::milliseconds>(
                                 Duration(ticks_.load() - kStart)));
  }
  void advance(Duration by) { ticks_ += by.count(); }

 private:
  static constexpr int64_t kStart = 1'000'000'000'000;  // ns: a machine that has run for a while
  std::atomic<int64_t> ticks_{kStart};
};

}  // namespace keyfs
