// The signals of a daemon: SIGTERM and SIGINT end it, SIGHUP reloads it; and a limit on how long
// shutdown may take.
//
//   DaemonSignals::block();               // before the first thread
//   auto signals = DaemonSignals::start({.on_end = ..., .on_reload = ...});
//   ...
//   (*signals)->end_within(3s, code);     // shutdown must not hang from here
//
// Thread-safety: any thread. Ownership: the hooks may refer to anything that outlives this object.
// Blocking: only end_reloads(), and the destructor, which waits for a running hook.
//
// on_end and on_reload run on threads of their own, one each, so that a reload that hangs on a dead
// disk does not keep the daemon from being ended. A reload that takes long is told by
// on_slow_reload, on the thread of on_end: first after `slow_reload`, and then each time that it
// has taken twice as long. However many SIGHUPs come during a reload, one more follows it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>

#include "base/result.h"
#include "fs/daemon/exit_code.h"

namespace keyfs {

class DaemonSignals {
 public:
  // The longest time from SIGTERM or SIGINT to exit, even if something hangs.
  static constexpr std::chrono::seconds kLongestEnd{10};

  struct Hooks {
    std::function<void(int signal)> on_end;
    std::function<void()> on_reload;
    std::function<void(std::chrono::milliseconds since)> on_slow_reload{};
    std::chrono::milliseconds slow_reload = std::chrono::seconds(5);
  };

  // Blocks them for the calling thread and those it starts.
  static void block();

  // kUnavailable if there is no thread or descriptor.
  static Result<std::unique_ptr<DaemonSignals>> start(Hooks hooks);
  ~DaemonSignals();
  DaemonSignals(const DaemonSignals&) = delete;
  DaemonSignals& operator=(const DaemonSignals&) = delete;

  // Starts acting on SIGHUP, including one that came earlier.
  void accept_reloads();
  // No further reload starts; waits for a running one.
  void end_reloads();

  // The process exits with `code` if this object still exists after this time. Only the first call
  // counts.
  void end_within(std::chrono::milliseconds time, ExitCode code);

 private:
  struct Impl;
  explicit DaemonSignals(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
