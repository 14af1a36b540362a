// A worker whose thread starts with its first piece of work. Everything that may hang independently
// gets one, at no cost until it is used.
//
// Thread-safety, ownership, blocking, cancellation: as Worker's.
#pragma once

#include <cstddef>
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
    const Counted counted(under_way_);
    co_return co_await worker_->run(std::move(work));
  }

  // How much is waited for. On the loop's thread.
  size_t under_way() const { return under_way_; }

 private:
  struct Counted {
    explicit Counted(size_t& n) : number(n) { ++number; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --number; }
    size_t& number;
  };

  Loop& loop_;
  std::string name_;
  size_t under_way_ = 0;
  std::unique_ptr<Worker> worker_;
};

}  // namespace keyfs
