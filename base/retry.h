// How often, and after what pause, a call is made again: a budget shared by all calls to one
// service, so that an outage does not multiply the load, and pauses that grow and are spread by
// chance, so that those who failed together do not come back together.
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html ("standard")
//
// Thread-safety: none. Blocking: never.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/result.h"

namespace keyfs {

// Whether the same call may succeed a moment later.
constexpr bool may_pass(Code code) {
  return code == Code::kUnavailable || code == Code::kTimeout || code == Code::kThrottled;
}

// A bucket of tokens: each retry costs some, each success gives some back.
class RetryBudget {
 public:
  static constexpr int kFull = 500;
  static constexpr int kRetry = 5;
  static constexpr int kTimeout = 10;  // a retry after a time-out

  // False: no more retries for now.
  bool take(int cost) {
    if (tokens_ < cost) return false;
    tokens_ -= cost;
    return true;
  }
  // A call succeeded, after retries that cost `spent` altogether.
  void succeeded(int spent) { tokens_ = std::min(kFull, tokens_ + std::max(spent, 1)); }

  int tokens() const { return tokens_; }

 private:
  int tokens_ = kFull;
};

// Evenly spread over [0, 1). For jitter only: without randomness all goes on, in step.
inline double random_fraction_of(Random& random) {
  std::array<uint8_t, 4> bytes{};
  if (!random.fill(bytes)) return 0.5;
  uint32_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  return number / 4294967296.0;
}

// Before retry 0, 1, 2...: a random part of `first`, twice `first`, and so on up to `most`.
// `fraction` gives numbers in [0, 1).
inline Duration retry_pause(unsigned retry, Duration first, Duration most,
                            const std::function<double()>& fraction) {
  Duration longest = first;
  for (unsigned i = 0; i < retry && longest < most; ++i) longest *= 2;
  longest = std::min(longest, most);
  return std::chrono::duration_cast<Duration>(longest * fraction());
}

}  // namespace keyfs
