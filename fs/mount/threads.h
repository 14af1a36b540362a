// The threads that take requests from the kernel.
//
//   auto threads = FuseThreads::make(session, [] { ... });  // all of them are there, and wait
//   (*threads)->serve();                                    // from now on they serve
//   ...
//   const int outcome = (*threads)->stop();
//
// In place of fuse_session_loop_mt(), whose pool takes a lock of all its threads twice for each
// request and only grows. Two threads wait for requests: the kernel wakes a sleeping one for each
// request, so that with more of them each sleeps longer and is woken more often. Helpers join while
// these two never have to wait, since the processors are then shared with many readers, and more
// threads get a larger share (bench/, group waits).
//
// Thread-safety: all on one thread. Ownership: refers to the session, which outlives it. Blocking:
// stop(), for as long as handlers run; they never wait for anything but the kernel. Errors: make():
// kUnavailable when there are no threads to be had, which is known before anything is mounted;
// stop() gives an errno of /dev/fuse, negative, or 0.
//
// SIGUSR2 has a handler while this exists: it ends the wait for a request.
#pragma once

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"

struct fuse_session;

namespace keyfs {

class FuseThreads {
 public:
  // `on_end` is called, on each of the threads, when serving has ended: stop() was called, the file
  // system was unmounted, or /dev/fuse failed.
  static Result<std::unique_ptr<FuseThreads>> make(fuse_session* session,
                                                   std::function<void()> on_end);
  ~FuseThreads();  // stops
  FuseThreads(const FuseThreads&) = delete;
  FuseThreads& operator=(const FuseThreads&) = delete;

  // The session has its descriptor by now.
  void serve();

  // Requests that were taken are answered or handed on; none is taken any more.
  int stop();

  // How many take requests now.
  unsigned active() const { return active_; }

 private:
  enum class Role { kFirst, kAlways, kHelper };
  enum class Stage { kParked, kFirst, kAll };

  FuseThreads(fuse_session* session, std::function<void()> on_end);
  Result<void> start_one(Role role);
  void run(Role role);
  void advance(Stage stage);
  void take_requests(Role role);
  void help();
  void call_helpers();

  fuse_session* const session_;
  const std::function<void()> on_end_;
  struct sigaction before_ {};

  std::mutex mutex_;  // guards what follows
  std::condition_variable called_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;   // helpers that wait to be called
  unsigned calls_ = 0;  // of them, those that were
  bool stopping_ = false;
  Stage stage_ = Stage::kParked;

  std::atomic<bool> began_{false};
  std::atomic<unsigned> running_{0};
  std::atomic<unsigned> active_{0};
  std::atomic<int> outcome_{0};
};

}  // namespace keyfs
