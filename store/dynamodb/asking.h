// How DynamoDbStore asks its replicas: its member templates, for its own source files only.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/hedge.h"
#include "store/dynamodb/store.h"

namespace keyfs {
namespace dynamodb {

// Whether it is worth asking another replica.
inline bool is_ones_own(Code code) { return may_pass(code) || code == Code::kDenied; }

// The error for several failed replicas: what the caller can do about all of them.
inline Error combine(const std::vector<Error>& errors) {
  if (errors.size() == 1) return errors.front();
  Code code = errors.front().code;
  std::string text;
  for (const Error& error : errors) {
    // One transient error makes the whole worth another try; throttled only if all are.
    if (error.code != code)
      code = may_pass(error.code) || may_pass(code) ? Code::kUnavailable : code;
    text += (text.empty() ? "" : "; ") + error.message;
  }
  return Error(code, std::move(text));
}

}  // namespace dynamodb

// One question to several replicas, and what came of it.
template <class T>
class DynamoDbStore::Question final : public HedgedWork<Candidate, Result<T>> {
 public:
  Question(TimePoint deadline, Ask<T> question)
      : deadline_(deadline), question_(std::move(question)) {}

  Task<Result<T>> ask(Candidate& one) override { return question_(one.replica, deadline_); }

  Verdict judge(Candidate& one, Result<T>& answer, Duration latency) override {
    if (answer) {
      one.succeeded(latency);
      return Verdict::kTake;
    }
    one.failed(answer.error(), latency);
    if (!dynamodb::is_ones_own(answer.error().code)) return Verdict::kStop;
    errors_.push_back(std::move(answer.error()));
    return Verdict::kNext;
  }

  void refused(Candidate& one, Error why) override { errors_.push_back(why.within(one.name)); }

  void timed_out(Candidate& one, std::optional<Duration> waited) override {
    Error error(Code::kTimeout, one.name + ": timed out before its turn came");
    if (waited) {
      error.message = one.name + ": timed out after " + to_text(*waited);
      one.failed(error, *waited);
    }
    errors_.push_back(std::move(error));
  }

  Error error() const { return dynamodb::combine(errors_); }

 private:
  const TimePoint deadline_;
  const Ask<T> question_;
  std::vector<Error> errors_;
};

template <class T>
Task<Result<T>> DynamoDbStore::ask_one(size_t replica, TimePoint deadline, Ask<T> question) {
  std::vector<size_t> one(1, replica);
  return ask<T>(std::move(one), deadline, std::move(question));
}

template <class T>
Task<Result<T>> DynamoDbStore::ask(std::vector<size_t> replicas, TimePoint deadline,
                                   Ask<T> question) {
  std::vector<Candidate*> order;
  for (const size_t replica : replicas) order.push_back(candidates_[replica].get());
  Question<T> asked(deadline, std::move(question));
  Hedge<Candidate, Result<T>> hedge(loop_, asked, deadline);
  auto taken = co_await hedge.run(std::move(order));
  if (taken) co_return std::move(taken->answer);
  co_return fail(asked.error());
}

template <class T>
Task<Result<T>> DynamoDbStore::ask_readable(TimePoint deadline, Ask<T> question) {
  if (replicas_.size() > 1 && topology_.mode == Mode::kUnknown) {
    // Home is asked while the table is being described; if it does not answer soon, the others are
    // asked as soon as they are known.
    const TimePoint until = std::min(deadline, loop_.now() + candidates_[0]->health.hedge_delay());
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
