// Wraps a store and fails on command.
//
// On the loop's thread, like every store; the test may change `fault` at any time: it applies from
// the next call on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/loop.h"
#include "store/store.h"

namespace keyfs::testing {

struct StoreFault {
  Duration delay{};            // before the call is carried out
  Duration late{};             // between execution and the answer
  bool hang = false;           // never carried out, never answers
  std::optional<Error> error;  // the answer; nothing is carried out
  // Writes are carried out, but their reply is lost: the answer is `lost`, or none if it hangs.
  std::optional<Error> lose_reply;
  bool lose_reply_and_hang = false;
};

class FaultyStore final : public Store {
 public:
  struct Calls {
    int get = 0;
    int put = 0;
    int replace = 0;
    int list = 0;
    int under_way = 0;
    int all() const { return get + put + replace + list; }
  };

  FaultyStore(Loop& loop, std::unique_ptr<Store> real) : loop_(loop), real_(std::move(real)) {}

  StoreFault fault;
  Calls calls;
  // Runs right before a put_if_absent or replace is carried out: for simulating another writer.
  std::function<void()> before_write;

  void fail_with(Code code, std::string message = "told to fail") {
    fault = StoreFault{};
    fault.error.emplace(code, std::move(message));
  }
  void hang() {
    fault = StoreFault{};
    fault.hang = true;
  }
  void heal() { fault = StoreFault{}; }

  Task<Result<std::string>> identity(TimePoint deadline) override {
    return real_->identity(deadline);  // known from the start on, as real stores soon know it
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override {
    const UnderWay under_way(*this, calls.get);
    const StoreFault now = fault;
    co_await suffer(now);
    if (now.error) co_return fail(*now.error);
    auto answer = co_await real_->get(std::move(id), read, deadline);
    co_await wait(now.late);
    co_return answer;
  }
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override {
    const UnderWay under_way(*this, calls.put);
    const StoreFault now = fault;
    co_await suffer(now);
    if (now.error) co_return fail(*now.error);
    if (before_write) std::exchange(before_write, nullptr)();
    auto answer = co_await real_->put_if_absent(std::move(record), deadline);
    co_await wait(now.late);
    if (now.lose_reply_and_hang) co_await hang_on();
    if (now.lose_reply) co_return fail(*now.lose_reply);
    co_return answer;
  }
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override {
    const UnderWay under_way(*this, calls.replace);
    const StoreFault now = fault;
    co_await suffer(now);
    if (now.error) co_return fail(*now.error);
    if (before_write) std::exchange(before_write, nullptr)();
    auto answer = co_await real_->replace(std::move(record), std::move(revision), deadline);
    co_await wait(now.late);
    if (now.lose_reply_and_hang) co_await hang_on();
    if (now.lose_reply) co_return fail(*now.lose_reply);
    co_return answer;
  }
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    const UnderWay under_way(*this, calls.list);
    const StoreFault now = fault;
    co_await suffer(now);
    if (now.error) co_return fail(*now.error);
    auto answer = co_await real_->list(std::move(after), limit, deadline);
    co_await wait(now.late);
    co_return answer;
  }
  Board* board() override { return real_->board(); }  // to fail: support/memory_board.h
  Task<StoreCheck> check(TimePoint deadline) override { return real_->check(deadline); }

 private:
  struct UnderWay {
    UnderWay(FaultyStore& owner, int& counter) : store(owner) {
      ++counter;
      ++store.calls.under_way;
    }
    UnderWay(const UnderWay&) = delete;
    UnderWay& operator=(const UnderWay&) = delete;
    ~UnderWay() { --store.calls.under_way; }
    FaultyStore& store;
  };

  Task<void> hang_on() {
    OneShot<bool> never(loop_);
    co_await never;
  }
  Task<void> wait(Duration duration) {
    if (duration > Duration::zero()) co_await loop_.sleep_for(duration);
  }
  Task<void> suffer(StoreFault now) {
    if (now.hang) co_await hang_on();
    co_await wait(now.delay);
  }

  Loop& loop_;
  const std::unique_ptr<Store> real_;
};

}  // namespace keyfs::testing
