#include "fs/daemon/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/thread.h"

namespace keyfs {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

sigset_t our_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

}  // namespace

struct DaemonSignals::Impl {
  Hooks hooks;
  Descriptor signals;  // signalfd
  Descriptor wake;     // eventfd: a member below has changed

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  bool closed = false;
  bool accepting = false;
  bool reload = false;  // requested
  bool reloading = false;
  SteadyTime reload_began;
  std::chrono::milliseconds slow_after{};  // when the reload that is under way is told of next
  std::optional<SteadyTime> end_at;
  ExitCode end_code = ExitCode::kFailed;

  std::thread listener, reloader;

  ~Impl() {
    {
      std::lock_guard lock(mutex);
      closed = true;
    }
    ring();
    if (listener.joinable()) listener.join();
    if (reloader.joinable()) reloader.join();
  }

  void ring() {
    changed.notify_all();
    const uint64_t one = 1;
    // Can only fail if the counter is full, and then the wake-up is already pending.
    [[maybe_unused]] const ssize_t put = ::write(wake.get(), &one, sizeof one);
  }

  void set_end(SteadyTime at, ExitCode code) {
    {
      std::lock_guard lock(mutex);
      if (end_at && *end_at <= at) return;
      end_at = at;
      end_code = code;
    }
    ring();
  }

  // Milliseconds for poll(2), after telling of a slow reload; does not return once the time is over.
  int time_left() {
    std::unique_lock lock(mutex);
    const SteadyTime now = std::chrono::steady_clock::now();
    std::optional<SteadyTime> next = end_at;
    if (next && *next <= now) ::_exit(static_cast<int>(end_code));
    if (reloading && hooks.on_slow_reload) {
      const auto taken = std::chrono::floor<std::chrono::milliseconds>(now - reload_began);
      const bool slow = taken >= slow_after;
      while (slow_after <= taken) slow_after *= 2;
      const SteadyTime tell_at = reload_began + slow_after;
      if (!next || tell_at < *next) next = tell_at;
      lock.unlock();
      if (slow) hooks.on_slow_reload(taken);
    }
    if (!next) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*next - std::chrono::steady_clock::now());
    return static_cast<int>(std::max<int64_t>(left.count(), 0));
  }

  void listen() {
    std::array<pollfd, 2> waited = {pollfd{signals.get(), POLLIN, 0},
                                    pollfd{wake.get(), POLLIN, 0}};
    for (;;) {
      {
        std::lock_guard lock(mutex);
        if (closed) return;
      }
      if (::poll(waited.data(), waited.size(), time_left()) < 0) continue;
      uint64_t rung = 0;
      if (::read(wake.get(), &rung, sizeof rung) > 0) continue;
      signalfd_siginfo signal{};
      while (::read(signals.get(), &signal, sizeof signal) == sizeof signal) {
        hear(static_cast<int>(signal.ssi_signo));
      }
    }
  }

  void hear(int signal) {
    if (signal == SIGHUP) {
      std::lock_guard lock(mutex);
      reload = true;
      changed.notify_all();
      return;
    }
    set_end(std::chrono::steady_clock::now() + kLongestEnd, ExitCode::kFailed);
    hooks.on_end(signal);
  }

  void reload_when_asked() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return closed || (accepting && reload); });
      if (closed) return;
      reload = false;
      reloading = true;
      reload_began = std::chrono::steady_clock::now();
      slow_after = std::max(hooks.slow_reload, std::chrono::milliseconds(1));
      lock.unlock();
      ring();  // the listener looks at the time
      if (hooks.on_reload) hooks.on_reload();
      lock.lock();
      reloading = false;
      changed.notify_all();
    }
  }
};

void DaemonSignals::block() {
  const sigset_t signals = our_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

DaemonSignals::DaemonSignals(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DaemonSignals::~DaemonSignals() = default;

Result<std::unique_ptr<DaemonSignals>> DaemonSignals::start(Hooks hooks) {
  auto impl = std::make_unique<Impl>();
  impl->hooks = std::move(hooks);
  const sigset_t signals = our_signals();
  impl->signals = Descriptor(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!impl->signals.is_open()) return fail(os_error("signalfd", "cannot receive signals"));
  impl->wake = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->wake.is_open()) return fail(os_error("eventfd", "cannot receive signals"));
  auto listener = try_start_thread("keyfs-signals", [self = impl.get()] { self->listen(); });
  if (!listener) return fail(listener.error());
  impl->listener = std::move(*listener);
  auto reloader =
      try_start_thread("keyfs-reload", [self = impl.get()] { self->reload_when_asked(); });
  if (!reloader) return fail(reloader.error());
  impl->reloader = std::move(*reloader);
  return std::unique_ptr<DaemonSignals>(new DaemonSignals(std::move(impl)));
}

void DaemonSignals::accept_reloads() {
  std::lock_guard lock(impl_->mutex);
  impl_->accepting = true;
  impl_->changed.notify_all();
}

void DaemonSignals::end_reloads() {
  std::unique_lock lock(impl_->mutex);
  impl_->accepting = false;
  impl_->changed.wait(lock, [this] { return !impl_->reloading; });
}

void DaemonSignals::end_within(std::chrono::milliseconds time, ExitCode code) {
  impl_->set_end(std::chrono::steady_clock::now() + time, code);
}

}  // namespace keyfs
