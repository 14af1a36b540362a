// How DynamoDbStore asks its replicas: the templates of its declaration, for its own sources only.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "store/dynamodb/store.h"

namespace keyfs {
namespace dynamodb {

inline constexpr Duration kFirstPause = std::chrono::milliseconds(25);
inline constexpr Duration kLongestPause = std::chrono::seconds(1);
// Of one attempt: a connection that hangs leaves time for another one.
inline constexpr Duration kAttempt = std::chrono::seconds(3);

// Worth asking another replica.
inline bool is_ones_own(Code code) { return may_pass(code) || code == Code::kDenied; }

// Of several replicas that failed: what the caller can do about all of them.
inline Error combine(const std::vector<Error>& errors) {
  if (errors.size() == 1) return errors.front();
  Code code = errors.front().code;
  std::string text;
  for (const Error& error : errors) {
    // One that may pass makes the whole worth another try; throttled only when all are.
    if (error.code != code)
      code = may_pass(error.code) || may_pass(code) ? Code::kUnavailable : code;
    text += (text.empty() ? "" : "; ") + error.message;
  }
  return Error(code, std::move(text));
}

}  // namespace dynamodb

template <class T>
Task<Result<T>> DynamoDbStore::with_retries(TimePoint deadline, Attempt<T> attempt) {
  int spent = 0;
  std::optional<Error> last;  // of the last attempt
  for (unsigned number = 0;; ++number) {
    if (loop_.now() >= deadline) {
      // The last pause took longer than it should: on a busy machine, or one that was asleep.
      if (!last) last = Error(Code::kTimeout, "table " + names_.table + ": timed out");
      // Throttled to the end stays throttled.
      if (last->code == Code::kUnavailable) last->code = Code::kTimeout;
      co_return fail(std::move(*last));
    }
    const TimePoint until = std::min(deadline, loop_.now() + dynamodb::kAttempt);
    auto result = co_await attempt(number, until);
    if (result) {
      budget_.succeeded(spent);
      co_return result;
    }
    Error& error = result.error();
    if (!may_pass(error.code)) co_return result;
    if (error.code == Code::kTimeout && until == deadline && last &&
        last->code == Code::kThrottled) {
      // What was left of the time was too little for an answer: it was the throttling that took it.
      co_return fail(std::move(*last));
    }
    last = error;
    const int cost = error.code == Code::kTimeout ? RetryBudget::kTimeout : RetryBudget::kRetry;
    const Duration pause = retry_pause(number, dynamodb::kFirstPause, dynamodb::kLongestPause,
                                       [this] { return random_fraction_of(random_); });
    if (loop_.now() + pause >= deadline) {
      // Throttled to the end stays throttled: the caller shall slow down.
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

template <class T>
Task<Result<T>> DynamoDbStore::ask_one(size_t replica, TimePoint deadline, Ask<T> question) {
  DynamoDbReplica& asked = *replicas_[replica];
  const TimePoint begin = loop_.now();
  auto result = co_await question(asked, deadline);
  if (result) {
    asked.succeeded(loop_.now() - begin);
  } else if (result.error().code != Code::kCorrupt && result.error().code != Code::kInvalid) {
    asked.failed();
  }
  co_return result;
}

template <class T>
Task<Result<T>> DynamoDbStore::ask(std::vector<size_t> replicas, TimePoint deadline,
                                   Ask<T> question) {
  TaskGroup<Result<T>> calls(loop_);
  std::vector<size_t> asked;  // by the call's number
  std::vector<bool> done;
  std::vector<Error> errors;
  while (asked.size() < replicas.size() || !calls.empty()) {
    if (asked.size() < replicas.size()) {
      const size_t next = replicas[asked.size()];
      calls.start(ask_one<T>(next, deadline, question));
      asked.push_back(next);
      done.push_back(false);
    }
    // More are asked while these take their time, as long as there are more.
    std::optional<TimePoint> until;
    if (asked.size() < replicas.size()) until = loop_.now() + replicas_[asked.back()]->patience();
    auto finished = co_await calls.next(until);
    if (!finished) continue;
    done[finished->number] = true;
    auto& result = finished->value;
    if (result || !dynamodb::is_ones_own(result.error().code)) {
      // Those that were asked before and have not answered are not asked first for a while.
      for (size_t call = 0; call < finished->number; ++call) {
        if (!done[call]) replicas_[asked[call]]->failed();
      }
      co_return std::move(result);
    }
    errors.push_back(std::move(result.error()));
  }
  co_return fail(dynamodb::combine(errors));
}

template <class T>
Task<Result<T>> DynamoDbStore::ask_readable(TimePoint deadline, Ask<T> question) {
  if (replicas_.size() > 1 && topology_.mode == Mode::kUnknown) {
    // Home is asked while the table is described; should it not answer soon, the others are asked
    // as soon as they are known.
    const TimePoint until = std::min(deadline, loop_.now() + replicas_[0]->patience());
    std::vector<size_t> home(1, 0);
    auto answer = co_await ask<T>(std::move(home), until, question);
    if (answer || !dynamodb::is_ones_own(answer.error().code)) {
      co_return answer;
    }
    (void)co_await describe(deadline);
  }
  co_return co_await ask<T>(readable(), deadline, question);
}

}  // namespace keyfs
