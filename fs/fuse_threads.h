// The threads that take requests from the kernel.
//
//   FuseThreads threads(session, 0, [] { ... });   // they serve from now on
//   ...
//   const int outcome = threads.stop();
//
// In place of fuse_session_loop_mt(), whose pool takes a lock of all its threads twice for each
// request and only grows: with one thread for each processor, two or four readers wait less long
// and cost less (bench/, group threads).
//
// Thread-safety: construction, stop() and destruction on one thread. Ownership: refers to the
// session, which outlives it. Blocking: stop(), for as long as handlers run; they never wait for
// anything but the kernel. Errors: stop() gives an errno of /dev/fuse, negative, or 0.
//
// SIGUSR2 has a handler while this exists: it ends the wait for a request.
#pragma once

#include <signal.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

struct fuse_session;

namespace keyfs {

class FuseThreads {
 public:
  // `count` 0: as many as there are processors to run on, but two at least, so that one slow answer
  // does not hold up the rest, and four at most, past which they only get in each other's way.
  // `on_end` is called, on one of the threads, when serving has ended by itself: the file system
  // was unmounted, or /dev/fuse failed.
  FuseThreads(fuse_session* session, unsigned count, std::function<void()> on_end);
  ~FuseThreads();  // stops
  FuseThreads(const FuseThreads&) = delete;
  FuseThreads& operator=(const FuseThreads&) = delete;

  // Requests that were taken are answered or handed on; none is taken any more.
  int stop();

  static unsigned count_for(unsigned processors);

 private:
  bool start_one();
  void serve();
  void start_the_others();

  fuse_session* const session_;
  const unsigned count_;
  const std::function<void()> on_end_;
  struct sigaction before_ {};

  std::mutex mutex_;  // guards threads_ and stopping_
  std::vector<std::thread> threads_;
  bool stopping_ = false;
  std::atomic<bool> began_{false};
  std::atomic<unsigned> running_{0};
  std::atomic<int> outcome_{0};
};

}  // namespace keyfs
