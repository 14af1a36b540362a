// A deadline for work that is waited for until a deadline of the caller's own.
//
// Thread-safety: a plain function. Blocking: never. Errors: none.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace keyfs {

// A tenth of what is left sooner, 50 ms at most: what gives up then can still tell its caller why,
// who would otherwise learn only that the time is up.
inline TimePoint sooner(TimePoint deadline, TimePoint now) {
  const Duration left = std::max(Duration::zero(), deadline - now);
  return deadline - std::min<Duration>(left / 10, std::chrono::milliseconds(50));
}

}  // namespace keyfs
