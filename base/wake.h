// A flag that a task waits for: something may have happened, look.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to the loop. Blocking: never; one
// task waits at a time. Errors: none.
#pragma once

#include "base/loop.h"
#include "base/task.h"

namespace keyfs {

class Wake {
 public:
  explicit Wake(Loop& loop) : loop_(loop) {}
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;

  void set() {
    set_ = true;
    if (waiter_ != nullptr) loop_.make_ready(*waiter_);
  }
  // Until set() was called since the last wait, or the time has come.
  Task<void> wait(TimePoint until) {
    while (!set_ && loop_.now() < until) co_await Waiting(*this, until);
    set_ = false;
  }

 private:
  class Waiting {
   public:
    Waiting(Wake& wake, TimePoint until) : wake_(wake), until_(until), timer_(wake.loop_) {}
    ~Waiting() {
      if (wake_.waiter_ == &caller_) wake_.waiter_ = nullptr;
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> caller) {
      caller_.handle = caller;
      wake_.waiter_ = &caller_;
      timer_.start(until_, caller_);
    }
    void await_resume() {}

   private:
    Wake& wake_;
    const TimePoint until_;
    ReadyCoroutine caller_;
    Timer timer_;
  };

  Loop& loop_;
  bool set_ = false;
  Ready* waiter_ = nullptr;
};

}  // namespace keyfs
