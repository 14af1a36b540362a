// How often, and after what pause, a call is made again: a budget shared by all calls to one
// service, so that an outage does not multiply the load, and pauses that grow and are spread by
// chance, so that those who failed together do not come back together.
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html ("standard")
//
// Thread-safety: none. Blocking: never.
#pragma once

#include <algorithm>
#include <functional>

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

// Evenly spread over [0, 1). For jitter only.
using RandomFraction = std::function<double()>;
// From a source of random bytes, which outlives the result. Without randomness all goes on, in
// step.
RandomFraction random_fraction(Random& random);

Duration scaled(Duration duration, double factor);

// The pauses between tries: doubled each time, up to a bound.
struct Backoff {
  Duration first;
  Duration most;
  // How much of a pause chance may take away: 1 for all of it ("full jitter"), 0 for nothing.
  double spread = 0;

  // Before retry 0, 1, 2...
  Duration longest(unsigned retry) const;
  Duration pause(unsigned retry, const RandomFraction& random) const;
};

}  // namespace keyfs
