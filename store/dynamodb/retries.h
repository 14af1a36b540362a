// Calls to DynamoDB that may be repeated: with growing random pauses, from a budget that all calls
// of one object share, until their deadline.
//
// Thread-safety: none; on the loop's thread. Ownership: the loop and what the random source refers
// to outlive it, it outlives its tasks. Blocking: never. Errors: those of the attempts; kTimeout
// when what may pass has not by the deadline, but what was throttled to the end stays kThrottled.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/loop.h"
#include "base/result.h"
#include "base/retry.h"
#include "base/task.h"

namespace keyfs {

class DynamoDbRetries {
 public:
  // `attempt`: the longest that one attempt may take: one that hangs leaves time for another.
  DynamoDbRetries(Loop& loop, RandomFraction fraction, std::string table, Duration attempt)
      : loop_(loop), fraction_(std::move(fraction)), table_(std::move(table)), attempt_(attempt) {}

  template <class T>
  using Attempt = std::function<Task<Result<T>>(unsigned number, TimePoint deadline)>;
  template <class T>
  Task<Result<T>> run(TimePoint deadline, Attempt<T> attempt);

 private:
  static constexpr Backoff kBackoff{std::chrono::milliseconds(25), std::chrono::seconds(1), 1};

  Loop& loop_;
  const RandomFraction fraction_;
  const std::string table_;
  const Duration attempt_;
  RetryBudget budget_;
};

template <class T>
Task<Result<T>> DynamoDbRetries::run(TimePoint deadline, Attempt<T> attempt) {
  int spent = 0;
  std::optional<Error> last;  // of the last attempt
  for (unsigned number = 0;; ++number) {
    if (loop_.now() >= deadline) {
      // The last pause took longer than intended: a busy or suspended machine.
      if (!last) last = Error(Code::kTimeout, table_ + ": timed out");
      // Throttled to the end stays throttled.
      if (last->code == Code::kUnavailable) last->code = Code::kTimeout;
      co_return fail(std::move(*last));
    }
    const TimePoint until = std::min(deadline, loop_.now() + attempt_);
    auto result = co_await attempt(number, until);
    if (result) {
      budget_.succeeded(spent);
      co_return result;
    }
    Error& error = result.error();
    if (!may_pass(error.code)) co_return result;
    if (error.code == Code::kTimeout && until == deadline && last && last->code != Code::kTimeout) {
      // Too little time was left for an answer: what came before says more. Throttled to the end
      // stays throttled.
      if (last->code == Code::kUnavailable) {
        last->code = Code::kTimeout;
        last->message += "; tried " + std::to_string(number) + " times until the deadline";
      }
      co_return fail(std::move(*last));
    }
    last = error;
    const int cost = error.code == Code::kTimeout ? RetryBudget::kTimeout : RetryBudget::kRetry;
    const Duration pause = kBackoff.pause(number, fraction_);
    if (loop_.now() + pause >= deadline) {
      // Throttled to the end stays throttled: the caller should slow down.
      if (error.code == Code::kUnavailable) error.code = Code::kTimeout;
      error.message += "; tried " + std::to_string(number + 1) + " times until the deadline";
      co_return result;
    }
    if (!budget_.take(cost)) {
      error.message += "; not tried again: too many calls fail";
      co_return result;
    }
    spent += cost;
    co_await loop_.sleep_for(pause);
  }
}

}  // namespace keyfs
