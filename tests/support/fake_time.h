// A loop whose clock is controlled by the tests: when nothing is left to do, time jumps to the next
// timer.
#pragma once

#include <cstdlib>
#include <functional>
#include <optional>

#include "base/loop.h"
#include "support/fake_clock.h"

namespace keyfs::testing {

// With no timer running it waits for a wake-up from another thread (a Worker); if none comes, the
// test would hang forever, so it ends the program.
class LeapingPoller final : public Poller {
 public:
  explicit LeapingPoller(FakeClock& clock) : clock_(clock) {}
  // While this is true, time does not advance: another thread is about to wake the loop.
  std::function<bool()> busy;

  void wait(std::optional<Duration> timeout) override {
    if (timeout && (*timeout == Duration::zero() || !busy || !busy())) {
      clock_.advance(*timeout);
      return;
    }
    const auto begin = std::chrono::steady_clock::now();
    idle_.wait(std::chrono::seconds(30));
    if (std::chrono::steady_clock::now() - begin >= std::chrono::seconds(30)) std::abort();
  }
  void wake() override { idle_.wake(); }

 private:
  FakeClock& clock_;
  IdlePoller idle_;
};

struct FakeTimeLoop {
  FakeClock clock;
  LeapingPoller poller{clock};
  Loop loop{clock, poller};
};

}  // namespace keyfs::testing
