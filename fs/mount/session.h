// A mount, from its beginning to its end.
//
//   FuseSession::block_signals();                 // in main(), before any thread is there
//   auto session = FuseSession::mount(settings, ops, log);
//   (*session)->run({.on_ready = ..., .on_reload = ...});
//
// Thread-safety: mount(), run() and the destructor on one thread; stop() on any.
// Ownership: a FuseSession refers to the FuseOps and the Log, which outlive it. The loop that the
// operations use must run (on another thread) until run() has returned.
// Blocking: run() until the file system is unmounted from outside, or a signal or stop() ends it;
// it is unmounted then, also while it is in use.
// Errors: mount(): kInvalid (mount point or options), kUnavailable (the system refuses); nothing
// stays mounted. run(): kUnavailable when serving failed.
//
// Signals: SIGTERM and SIGINT end run(), SIGHUP calls on_reload (on run()'s thread). They are taken
// by signalfd(2), so they must be blocked in all threads. SIGUSR2 is given a handler while run()
// runs.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"

struct fuse_session;

namespace keyfs {

class FuseOps;

struct MountSettings {
  std::string mountpoint;
  // As after -o, comma-separated: allow_other, fsname=NAME, context=... and the like, and those
  // that keyfs sets anyway. root gets allow_other by itself.
  std::string options;
};

// The options that libfuse is given, for the user's; kInvalid for what would break keyfs's promises
// (rw, dev, default_permissions, auto_unmount, ...), with the reason, and for what is not known.
Result<std::vector<std::string>> mount_options(const std::string& user_options, bool is_root);

struct SessionHooks {
  std::function<void()> on_ready;   // the mount can be used
  std::function<void()> on_reload;  // SIGHUP
};

class FuseSession {
 public:
  // For the calling thread and those it starts.
  static void block_signals();

  static Result<std::unique_ptr<FuseSession>> mount(const MountSettings& settings, FuseOps& ops,
                                                    Log& log);
  // Speaks to a peer over `fd` (a SOCK_SEQPACKET socket) in place of the kernel: for tests. Takes
  // over the descriptor.
  static Result<std::unique_ptr<FuseSession>> over_socket(int fd, FuseOps& ops, Log& log);
  ~FuseSession();
  FuseSession(const FuseSession&) = delete;
  FuseSession& operator=(const FuseSession&) = delete;

  // Absolute; empty over a socket.
  const std::string& mountpoint() const { return mountpoint_; }

  Result<void> run(const SessionHooks& hooks);
  void stop();

 private:
  FuseSession(FuseOps& ops, Log& log) : ops_(ops), log_(log) {}
  Result<void> create(const std::vector<std::string>& options);
  void wait_for_signals(const SessionHooks& hooks);
  void unmount();

  FuseOps& ops_;
  Log& log_;
  fuse_session* session_ = nullptr;
  std::string mountpoint_;
  bool mounted_ = false;
  int wake_ = -1;  // eventfd: stop() was called, or serving ended
  std::atomic<bool> stopping_{false};
  std::atomic<bool> served_{false};
};

}  // namespace keyfs
