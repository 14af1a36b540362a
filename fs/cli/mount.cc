#include "fs/cli/mount.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "fs/daemon/background.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/daemon.h"
#include "fs/daemon/notify.h"
#include "fs/daemon/process.h"
#include "fs/mount/mountpoint.h"
#include "fs/mount/session.h"

namespace keyfs {
namespace {

// What is on top at `path`.
std::string type_mounted_at(const std::string& path) {
  std::ifstream in("/proc/self/mountinfo");
  std::ostringstream text;
  text << in.rdbuf();
  std::string type;
  for (const auto& entry : parse_mountinfo(text.str())) {
    if (entry.mountpoint == path) type = entry.type;
  }
  return type;
}

// Once unmounted, nobody waits for anything of ours any more; but the parts are taken down in
// order, and a thread that hangs in a call on a dead disk would hold that up for ever.
void end_soon(ExitCode code) {
  static constexpr std::chrono::seconds kTakingDown(3);
  std::thread([code] {
    std::this_thread::sleep_for(kTakingDown);
    ::_exit(static_cast<int>(code));
  }).detach();
}

// In the process that serves: the foreground one, or the child.
ExitCode serve(const DaemonOptions& options, StartReport& report, Output& output) {
  const auto failed = [&](const Error& error) {
    if (report.in_background()) {
      report.failed(exit_code_for(error), error.message);
    } else {
      output.error(error.message);
    }
    return exit_code_for(error);
  };
  if (auto ok = harden_process(); !ok) return failed(ok.error());
  if (auto ok = check_lockable_memory(); !ok) return failed(ok.error());
  FuseSession::block_signals();
  const ServiceNotifier notifier(::getenv("NOTIFY_SOCKET"));
  auto daemon = Daemon::build(options);
  if (!daemon) return failed(daemon.error());

  Result<void> detached;
  DaemonHooks hooks;
  hooks.on_ready = [&] {
    detached = report.up((*daemon)->mountpoint());
    if (!detached) return (*daemon)->stop();
    notifier.ready("mounted on " + (*daemon)->mountpoint());
  };
  hooks.on_reloading = [&] { notifier.reloading(); };
  hooks.on_reloaded = [&] { notifier.ready("mounted on " + (*daemon)->mountpoint()); };
  hooks.on_stopping = [&] { notifier.stopping(); };
  const auto ended = (*daemon)->run(hooks);
  end_soon(ended && detached ? ExitCode::kDone : ExitCode::kFailed);
  if (!detached) return failed(detached.error());
  if (!ended) return failed(ended.error());
  return ExitCode::kDone;
}

// In the process that was started: waits, then looks at the mount with its own eyes.
ExitCode wait_until_usable(const Background& background, Output& output) {
  const StartOutcome outcome = background.wait_for_child();
  if (outcome.code != ExitCode::kDone) {
    output.error(outcome.message);
    return outcome.code;
  }
  const std::string& mountpoint = outcome.message;
  struct stat root {};
  const std::string type = type_mounted_at(mountpoint);
  if (type == "fuse.keyfs" && ::stat(mountpoint.c_str(), &root) == 0) return ExitCode::kDone;
  output.error("the daemon is up, and yet " + mountpoint + " can't be used: " +
               (type == "fuse.keyfs" ? std::strerror(errno) : "no keyfs is mounted there"));
  ::kill(background.pid, SIGTERM);
  while (::waitpid(background.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return ExitCode::kFailed;
}

}  // namespace

ExitCode run_mount(MountArguments arguments, CommonArguments common, Output& output) {
  // The daemon works in "/".
  common.config = absolute_path(common.config);
  if (!common.embedded.empty()) common.embedded = absolute_path(common.embedded);
  arguments.mountpoint = absolute_path(arguments.mountpoint);
  DaemonOptions options{common, {arguments.mountpoint, arguments.options}, false};
  if (arguments.foreground) {
    StartReport nobody;
    return serve(options, nobody, output);
  }
  options.log_to_file = true;
  auto background = Background::fork_process();
  if (!background) {
    output.error(background.error().message);
    return ExitCode::kFailed;
  }
  if (!background->child) return wait_until_usable(*background, output);
  return serve(options, *background->child, output);
}

}  // namespace keyfs
