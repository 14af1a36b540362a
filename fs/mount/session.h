// A mount, from start to unmount.
//
//   auto session = FuseSession::mount(settings, ops, log);
//   (*session)->run([] { ... });  // until it is unmounted, or stop() is called
//
// Thread-safety: mount(), run() and the destructor on one thread; stop() on any.
// Ownership: a FuseSession refers to the FuseOps and the Log, which outlive it. The loop that the
// operations use must run (on another thread) until run() has returned.
// Blocking: mount() and run(). Errors: see these.
//
// At the end only this mount is unmounted, wherever it is then: it is identified by its id. If
// something else was mounted over it, both are left alone, and this one is dead; the log says so.
//
// SIGUSR2 has a handler as long as a session exists. All other signals are handled elsewhere.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "base/result.h"
#include "fs/mount/mountinfo.h"

struct fuse_session;

namespace keyfs {

class FuseOps;
class FuseThreads;

struct MountSettings {
  std::string mountpoint;
  // As after -o, comma-separated: allow_other, fsname=NAME, context=... and the like, and those
  // that keyfs always sets. root gets allow_other automatically.
  std::string options;
};

// Translates the user's options into libfuse's; kInvalid for options that would break keyfs's
// promises (rw, dev, default_permissions, auto_unmount, ...), with the reason, and for unknown
// ones.
Result<std::vector<std::string>> mount_options(const std::string& user_options, bool is_root);

class FuseSession {
 public:
  // Mounts; requests wait until run(). Blocks on the kernel, and on fusermount3 for other users
  // than root. kInvalid (mount point or options), kUnavailable (the system refuses, or no threads
  // can be started); nothing stays mounted then.
  static Result<std::unique_ptr<FuseSession>> mount(const MountSettings& settings, FuseOps& ops,
                                                    Log& log);
  // Speaks to a peer over `fd` (a SOCK_SEQPACKET socket) instead of the kernel: for tests. Takes
  // ownership of the descriptor.
  static Result<std::unique_ptr<FuseSession>> over_socket(int fd, FuseOps& ops, Log& log);
  ~FuseSession();
  FuseSession(const FuseSession&) = delete;
  FuseSession& operator=(const FuseSession&) = delete;

  // Absolute; empty over a socket.
  const std::string& mountpoint() const { return mountpoint_; }

  // Serves until the file system is unmounted from outside, or stop() ends it, which unmounts it
  // even while it is in use. kUnavailable if serving failed. `on_ready`: the mount is usable.
  Result<void> run(const std::function<void()>& on_ready);
  void stop();  // from any thread, even before run()

 private:
  FuseSession(FuseOps& ops, Log& log);
  Result<void> create(const std::vector<std::string>& options);
  Result<void> mount_there(const std::vector<std::string>& options);
  void unmount();

  FuseOps& ops_;
  Log& log_;
  fuse_session* session_ = nullptr;
  std::string mountpoint_;
  std::optional<MountId> mount_;
  bool mounted_ = false;
  Descriptor wake_;  // eventfd: stop() was called, or serving ended
  std::atomic<bool> stopping_{false};
  std::atomic<bool> served_{false};
  std::unique_ptr<FuseThreads> threads_;
};

}  // namespace keyfs
