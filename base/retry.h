// When to retry a call: a budget shared by all calls to one service, so that an outage does not
// multiply the load, and exponential back-off with jitter, so that calls that failed together do
// not return together.
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html ("standard")
//
// Thread-safety: none. Blocking: never, the pauses are the caller's to wait for. Errors: none.
#pragma once

#include <algorithm>
#include <functional>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/result.h"

namespace keyfs {

// Whether the same call may succeed if repeated.
constexpr bool may_pass(Code code) {
  return code == Code::kUnavailable || code == Code::kTimeout || code == Code::kThrottled;
}

// A bucket of tokens: each retry costs some, each success gives some back.
class RetryBudget {
 public:
  static constexpr int kFull = 500;
  static constexpr int kRetry = 5;
  static constexpr int kTimeout = 10;  // a retry after a time-out

  // Takes the cost of one retry; false: no more retries for now.
  bool take(int cost) {
    if (tokens_ < cost) return false;
    tokens_ -= cost;
    return true;
  }
  // A call succeeded after retries that cost `spent` in total.
  void succeeded(int spent) { tokens_ = std::min(kFull, tokens_ + std::max(spent, 1)); }

  int tokens() const { return tokens_; }

 private:
  int tokens_ = kFull;
};

// Evenly spread over [0, 1). For jitter only.
using RandomFraction = std::function<double()>;
// From a source of random bytes, which must outlive the result. If randomness fails, everything
// still works, in lockstep.
RandomFraction random_fraction(Random& random);

// `duration` times `factor`.
Duration scaled(Duration duration, double factor);

// The pauses between tries: doubled each time, up to a limit.
struct Backoff {
  Duration first;
  Duration most;
  // How much of a pause jitter may remove: 1 for all of it ("full jitter"), 0 for nothing.
  double spread = 0;

  // The pause before retry 0, 1, 2... without jitter.
  Duration longest(unsigned retry) const;
  // The same with jitter: never longer.
  Duration pause(unsigned retry, const RandomFraction& random) const;
};

}  // namespace keyfs
