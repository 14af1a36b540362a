#include "fs/fuse_threads.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <system_error>
#include <utility>

namespace keyfs {
namespace {

constexpr int kKick = SIGUSR2;

// What the kernel asks next, in memory that libfuse allocates with the first one.
struct RequestBuffer {
  RequestBuffer() = default;
  ~RequestBuffer() { std::free(buffer.mem); }
  RequestBuffer(const RequestBuffer&) = delete;
  RequestBuffer& operator=(const RequestBuffer&) = delete;
  fuse_buf buffer{};
};

}  // namespace

unsigned FuseThreads::count_for(unsigned processors) { return std::clamp(processors, 2U, 4U); }

FuseThreads::FuseThreads(fuse_session* session, unsigned count, std::function<void()> on_end)
    : session_(session),
      count_(count != 0 ? count : count_for(std::thread::hardware_concurrency())),
      on_end_(std::move(on_end)) {
  // Without SA_RESTART: a read that sleeps is interrupted, and looks at the exit flag.
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(kKick, &action, &before_);
  std::lock_guard lock(mutex_);
  if (start_one()) return;
  outcome_ = -EAGAIN;
  on_end_();
}

FuseThreads::~FuseThreads() {
  stop();
  sigaction(kKick, &before_, nullptr);
}

// False when the system has no thread to give.
bool FuseThreads::start_one() {
  ++running_;
  try {
    threads_.emplace_back([this] {
      pthread_setname_np(pthread_self(), "keyfs-fuse");
      serve();
      // The others sleep in a read that only stop() ends, which whoever hears on_end_ calls.
      fuse_session_exit(session_);
      --running_;
      on_end_();
    });
    return true;
  } catch (const std::system_error&) {
    --running_;
    return false;
  }
}

// The buffers of all others have the size that INIT, which the kernel sends before all else, has
// settled.
void FuseThreads::start_the_others() {
  std::lock_guard lock(mutex_);
  while (!stopping_ && threads_.size() < count_ && start_one()) {
  }
}

void FuseThreads::serve() {
  RequestBuffer request;
  while (fuse_session_exited(session_) == 0) {
    const int received = fuse_session_receive_buf(session_, &request.buffer);
    if (received == -EINTR) continue;
    if (received < 0) outcome_ = received;
    if (received <= 0) return;
    fuse_session_process_buf(session_, &request.buffer);
    if (!began_.load(std::memory_order_relaxed) && !began_.exchange(true)) start_the_others();
  }
}

int FuseThreads::stop() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  fuse_session_exit(session_);
  // The signal may come before a thread sleeps, so it is sent until all have heard it.
  while (running_ > 0) {
    for (auto& thread : threads) pthread_kill(thread.native_handle(), kKick);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (auto& thread : threads) thread.join();
  return outcome_;
}

}  // namespace keyfs
