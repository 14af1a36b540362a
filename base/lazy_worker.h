// A worker whose thread starts with its first piece of work. Everything that may hang independently
// gets one, at no cost until it is used.
//
// Thread-safety, ownership, blocking, cancellation: as Worker's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "base/worker.h"

namespace keyfs {

class LazyWorker {
 public:
  LazyWorker(Loop& loop, std::string name) : loop_(loop), name_(std::move(name)) {}

  // As Worker::run(). kUnavailable if no thread can be started; the next call tries again.
  template <class T>
  Task<Result<T>> run(std::function<Result<T>()> work) {
    if (worker_ == nullptr) {
      try {
        worker_ = std::make_unique<Worker>(loop_, name_);
      } catch (const std::system_error&) {
      }
      if (worker_ == nullptr) co_return fail(Code::kUnavailable, "no thread can be started");
    }
    co_return co_await worker_->run(std::move(work));
  }

 private:
  Loop& loop_;
  std::string name_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace keyfs
