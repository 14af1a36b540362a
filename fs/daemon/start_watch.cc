#include "fs/daemon/start_watch.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <thread>
#include <utility>

#include "base/thread.h"

namespace keyfs {
namespace {

// A busy machine may not let us run for a while.
constexpr Duration kLeastPatience = std::chrono::seconds(1);
// It is looked at this often in its time: one during which the process was stopped counts once.
constexpr int kLooks = 10;
// A process that works, if only on what a slow disk gives it, uses more of its time than this.
constexpr int kIdle = 1000;

Duration processor_time() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

std::string seconds_of(Duration duration) {
  const auto tenths = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count() / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace

struct StartWatch::Impl {
  std::function<void(const std::string& message)> hangs;
  std::mutex mutex;  // guards what follows; held while `hangs` runs, so that nothing else is told
  std::condition_variable changed;
  bool over = false;
  uint64_t steps = 0;
  std::string what;
  Duration patience{};
  std::thread thread;

  void watch() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return over || steps != 0; });
    while (!over) {
      const uint64_t step = steps;
      const Duration patient = patience;
      const Duration before = processor_time();
      int looks = 0;
      while (looks < kLooks && !over && steps == step) {
        changed.wait_for(lock, patient / kLooks, [&] { return over || steps != step; });
        ++looks;
      }
      if (over || steps != step || processor_time() - before > patient / kIdle) continue;
      hangs(what + " takes longer than " + seconds_of(patient) +
            ": a disk or a file server does not answer; nothing is mounted");
      return;
    }
  }
};

StartWatch::StartWatch(std::function<void(const std::string& message)> hangs)
    : impl_(std::make_unique<Impl>()) {
  impl_->hangs = std::move(hangs);
  if (auto thread = try_start_thread("keyfs-start", [me = impl_.get()] { me->watch(); })) {
    impl_->thread = std::move(*thread);
  }
}

StartWatch::~StartWatch() {
  over();
  if (impl_->thread.joinable()) impl_->thread.join();
}

void StartWatch::step(const std::string& what, const std::string& path, Duration patience) {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->what = path.empty() ? what : what + " (" + path + ")";
    impl_->patience = std::max(patience, kLeastPatience);
    ++impl_->steps;
  }
  impl_->changed.notify_one();
}

void StartWatch::over() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->over = true;
  }
  impl_->changed.notify_one();
}

}  // namespace keyfs
