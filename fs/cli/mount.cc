#include "fs/cli/mount.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <utility>

#include "fs/cli/command_process.h"
#include "fs/daemon/background.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/daemon.h"
#include "fs/daemon/notify.h"
#include "fs/daemon/process.h"
#include "fs/daemon/signals.h"
#include "fs/daemon/start_watch.h"
#include "fs/mount/mountinfo.h"

namespace keyfs {
namespace {

// The time for shutdown after unmounting: a thread that hangs in a call on a dead disk would hold
// it up forever.
constexpr std::chrono::seconds kTakingDown{3};

// What the configuration says of deadlines is not known before.
constexpr std::chrono::seconds kReadConfiguration{10};

// The daemon that receives signals, from its creation to its shutdown.
class Running {
 public:
  void begin(Daemon& daemon) {
    std::lock_guard lock(mutex_);
    daemon_ = &daemon;
    if (signal_) daemon.stop(*signal_);
  }
  void end() {
    std::lock_guard lock(mutex_);
    daemon_ = nullptr;
  }
  void stop(int signal) {
    std::lock_guard lock(mutex_);
    signal_ = signal;
    if (daemon_ != nullptr) daemon_->stop(signal);
  }

 private:
  std::mutex mutex_;
  Daemon* daemon_ = nullptr;
  std::optional<int> signal_;
};

// The document of --json: whether it is mounted, or why not.
void answer(const std::string& mountpoint, const std::string* why_not, Output& output) {
  if (!output.json()) return;
  nlohmann::ordered_json document = {{"mountpoint", mountpoint}, {"mounted", why_not == nullptr}};
  if (why_not != nullptr) document["reason"] = *why_not;
  output.write(document);
  output.out() << std::flush;
}

// In the process that serves: the foreground one, or the child.
ExitCode serve(DaemonOptions options, StartReport& report, Output& output) {
  bool answered = false;  // in the foreground
  const auto tell = [&](const Error& error) {
    if (report.in_background()) {
      report.failed(exit_code_for(error), error.message);
    } else {
      output.error(error.message);
      if (!answered) answer(options.mount.mountpoint, &error.message, output);
    }
    return exit_code_for(error);
  };
  if (auto ok = set_up_daemon(report.descriptor()); !ok) return tell(ok.error());
  if (auto ok = check_lockable_memory(); !ok) return tell(ok.error());
  DaemonSignals::block();
  StartWatch watch([&](const std::string& hangs) {
    // The parent tells it; then nothing may keep whoever reads what the parent writes.
    if (report.in_background()) let_go_of_standard_streams();
    const ExitCode code = tell(Error(Code::kTimeout, hangs));
    let_go_of_standard_streams();
    ::_exit(static_cast<int>(code));
  });
  options.watch = &watch;
  const auto failed = [&](const Error& error) {
    watch.over();
    return tell(error);
  };
  const ServiceNotifier notifier(::getenv("NOTIFY_SOCKET"));
  std::unique_ptr<Daemon> daemon;
  Running running;
  DaemonHooks hooks;
  DaemonSignals::Hooks on_signal;
  on_signal.on_end = [&running](int signal) { running.stop(signal); };
  on_signal.on_reload = [&] {
    notifier.reloading();
    daemon->reload();
    notifier.ready("mounted on " + daemon->mountpoint());
  };
  on_signal.on_slow_reload = [&](auto since) { daemon->reload_is_slow(since); };
  auto signals = DaemonSignals::start(std::move(on_signal));
  if (!signals) return failed(signals.error());
  const ConfigurationSource& source = options.configuration;
  watch.step("reading the configuration", source.embedded.empty() ? source.config : source.embedded,
             kReadConfiguration);
  auto built = Daemon::build(options);
  if (!built) return failed(built.error());
  daemon = std::move(*built);
  running.begin(*daemon);

  Result<void> detached;
  hooks.on_ready = [&] {
    watch.over();
    detached = report.up(daemon->mountpoint());
    if (!detached) return daemon->stop();
    if (!report.in_background()) {
      answer(daemon->mountpoint(), nullptr, output);
      answered = true;
    }
    notifier.ready("mounted on " + daemon->mountpoint());
    (*signals)->accept_reloads();
  };
  hooks.on_stopping = [&](bool well) {
    notifier.stopping();
    (*signals)->end_within(kTakingDown, well && detached ? ExitCode::kDone : ExitCode::kFailed);
    (*signals)->end_reloads();
  };
  const auto ended = daemon->run(hooks);
  running.end();
  daemon.reset();
  if (!detached) return failed(detached.error());
  if (!ended) return failed(ended.error());
  return ExitCode::kDone;
}

// In the process that was started: waits, then looks at the mount with its own eyes, as far as it
// sees: without /proc the type of a mount is not to be told, and the daemon is believed.
ExitCode wait_until_usable(const Background& background, const std::string& asked_for,
                           Output& output) {
  const StartOutcome outcome = background.wait_for_child();
  if (outcome.code != ExitCode::kDone) {
    output.error(outcome.message);
    answer(asked_for, &outcome.message, output);
    return outcome.code;
  }
  const std::string& mountpoint = outcome.message;
  const auto place = mount_at(mountpoint);
  const auto mounts = read_mounts();
  const MountEntry* entry = place && mounts ? find_mount(*mounts, place->mount.id) : nullptr;
  const bool ours = place && place->is_root && (!entry || entry->type == kOurFileSystem);
  struct stat root {};
  if (ours && ::stat(mountpoint.c_str(), &root) == 0) {
    answer(mountpoint, nullptr, output);
    return ExitCode::kDone;
  }
  const std::string why = "the daemon started, but " + mountpoint + " is not usable: " +
                          (ours ? std::strerror(errno) : "no keyfs is mounted there");
  output.error(why);
  answer(mountpoint, &why, output);
  ::kill(background.pid, SIGTERM);
  while (::waitpid(background.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return ExitCode::kFailed;
}

}  // namespace

ExitCode run_mount(MountArguments arguments, CommonArguments common, Output& output) {
  // The daemon's working directory is "/".
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
    answer(arguments.mountpoint, &background.error().message, output);
    return ExitCode::kFailed;
  }
  if (!background->child) {
    return wait_until_usable(*background, arguments.mountpoint, output);
  }
  return serve(options, *background->child, output);
}

}  // namespace keyfs
