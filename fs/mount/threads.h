// The threads that take requests from the kernel.
//
//   auto threads = FuseThreads::make(session, [] { ... });  // all started, waiting
//   (*threads)->serve();                                    // starts serving
//   ...
//   const int outcome = (*threads)->stop();
//
// Replaces fuse_session_loop_mt(), whose pool takes a lock shared by all its threads twice for each
// request and only grows. Two threads wait for requests: the kernel wakes a sleeping one for each
// request, so with more threads each sleeps longer and is woken more often. Helpers join while
// these two never have to wait, since the CPUs are then shared with many readers, and more threads
// get a larger share (bench/, group waits).
//
// Thread-safety: all on one thread. Ownership: refers to the session, which outlives it. Blocking:
// only stop(). Errors: see make() and stop().
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
  // `on_end` is called on each thread when serving has ended: stop() was called, the file
  // system was unmounted, or /dev/fuse failed. kUnavailable if no threads can be started, before
  // anything is mounted.
  static Result<std::unique_ptr<FuseThreads>> make(fuse_session* session,
                                                   std::function<void()> on_end);
  ~FuseThreads();  // stops
  FuseThreads(const FuseThreads&) = delete;
  FuseThreads& operator=(const FuseThreads&) = delete;

  // The session must have its descriptor.
  void serve();

  // Requests already taken are answered or passed on; no more are taken. Waits for as long as
  // handlers run; they never wait for anything but the kernel. A negative errno of /dev/fuse, or 0.
  int stop();

  // How many are taking requests now.
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
  unsigned idle_ = 0;   // helpers that are waiting to be called
  unsigned calls_ = 0;  // how many of them were called
  bool stopping_ = false;
  Stage stage_ = Stage::kParked;

  std::atomic<bool> began_{false};
  std::atomic<unsigned> running_{0};
  std::atomic<unsigned> active_{0};
  std::atomic<int> outcome_{0};
};

}  // namespace keyfs
