#include "base/worker.h"

#include <utility>

#include "base/secret.h"
#include "base/thread.h"

namespace keyfs {

Worker::Worker(Loop& loop, const std::string& name) : loop_(loop) {
  thread_ = start_thread(name, [this] { work_until_closed(); });
}

Worker::~Worker() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Worker::push(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void Worker::work_until_closed() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;  // its captures are destroyed without the lock
    wipe_registers();
    lock.lock();
  }
}

}  // namespace keyfs
