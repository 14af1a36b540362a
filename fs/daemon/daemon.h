// A mounted keyfs: all its parts, built in order, and the background work.
//
// Thread-safety: build() and run() on one thread, which is not the loop's; the daemon runs the
// loop on a thread of its own. Ownership: owns all parts. Blocking: build(), run(), and the
// destructor.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/start_watch.h"
#include "fs/mount/session.h"

namespace keyfs {

struct DaemonOptions {
  ConfigurationSource configuration;
  MountSettings mount;          // the mount point is absolute
  bool log_to_file = false;     // otherwise to standard error
  StartWatch* watch = nullptr;  // of build(), which it is told of; null: nobody's
};

struct DaemonHooks {
  std::function<void()> on_ready;
  // It is unmounted and now shuts down: `well`, unless serving failed.
  std::function<void(bool well)> on_stopping;
};

class Daemon {
 public:
  // Reads files, opens the store, and mounts: mounted when this returns, but not yet served.
  // kInvalid for the configuration or the mount point, otherwise the errors of what could not be
  // built; then nothing stays mounted.
  static Result<std::unique_ptr<Daemon>> build(const DaemonOptions& options);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  const std::string& mountpoint() const;  // absolute
  // Serves until it is unmounted or stopped. kUnavailable if serving failed.
  Result<void> run(const DaemonHooks& hooks);
  // From any thread, until run() has called on_stopping. Loads the configuration again, which
  // blocks as load_configuration() does; a mistake in it is logged, and the old policy stays.
  void reload();
  void reload_is_slow(std::chrono::milliseconds since);  // tells the log what it waits for
  void stop();
  void stop(int signal);  // logs why

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);
  static Result<std::unique_ptr<Daemon>> build_parts(const DaemonOptions& options);
  std::unique_ptr<Parts> parts_;
};

}  // namespace keyfs
