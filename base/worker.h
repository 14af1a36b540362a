// A thread for work that blocks: SQLite, files on disk.
//
// Thread-safety: run() on the loop's thread. Ownership: the worker outlives the tasks that use it,
// and the loop outlives the worker. Its destructor finishes all queued work, then joins. Blocking:
// run() never; the work itself may. Cancellation: dropping the task does not stop work that has
// begun; only its result is dropped.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/loop.h"
#include "base/task.h"

namespace keyfs {

class Worker {
 public:
  // `name` is what the thread is called in ps and gdb, at most 15 bytes. Throws std::system_error
  // if no thread can be started (base/thread.h).
  Worker(Loop& loop, const std::string& name);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Runs `work` on the worker's thread, in the order of the calls. Everything it refers to must
  // outlive the worker, since a dropped task leaves it running.
  template <class T>
  Task<T> run(std::function<T()> work) {
    auto slot = std::make_shared<OneShot<T>>(loop_);
    std::weak_ptr<OneShot<T>> waiter = slot;
    push([this, waiter, work = std::move(work)] {
      auto value = std::make_shared<T>(work());
      loop_.post([waiter, value] {
        if (auto slot = waiter.lock()) slot->set(std::move(*value));
      });
    });
    T value = co_await *slot;
    co_return value;
  }

 private:
  void push(std::function<void()> job);
  void work_until_closed();

  Loop& loop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace keyfs
