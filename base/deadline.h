// A deadline for work whose caller has a deadline of its own.
//
// Thread-safety: a plain function. Blocking: never. Errors: none.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace keyfs {

// Earlier by a tenth of the remaining time, at most 50 ms, so that the work can still report why it
// gave up before the caller's own deadline passes.
inline TimePoint sooner(TimePoint deadline, TimePoint now) {
  const Duration left = std::max(Duration::zero(), deadline - now);
  return deadline - std::min<Duration>(left / 10, std::chrono::milliseconds(50));
}

}  // namespace keyfs
