#include "fs/cli/command_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <utility>

#include "base/file.h"

namespace keyfs {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// What ends the command and is passed on, but for what the user ignores on purpose: a blocked
// signal would be seen although it is ignored.
sigset_t passed_on() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
      sigaddset(&signals, signal);
    }
  }
  return signals;
}

[[noreturn]] void be_the_child(const std::function<void(const Leave&)>& work, Descriptor report,
                               pid_t parent, const sigset_t& mask) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::getppid() != parent) ::_exit(EXIT_FAILURE);  // it died before
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  work([&report](int code) {
    let_go_of_standard_streams();
    const auto told = static_cast<uint8_t>(code);
    (void)write_all(report.get(), std::span(&told, 1));  // fails if the parent is dying
    report.reset();
  });
  ::_exit(EXIT_FAILURE);
}

// So that a shell sees what happened: after Ctrl-C it ends its script.
[[noreturn]] void die_of(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  ::raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  ::_exit(128 + signal);
}

class Parent {
 public:
  Parent(pid_t child, Descriptor report, Descriptor signals, std::chrono::milliseconds patience)
      : child_(child),
        report_(std::move(report)),
        signals_(std::move(signals)),
        patience_(patience) {}

  int wait() {
    for (;;) {
      int status = 0;
      const pid_t ended = ::waitpid(child_, &status, WNOHANG);
      if (ended == child_) {
        if (WIFSIGNALED(status)) die_of(WTERMSIG(status));
        return WEXITSTATUS(status);
      }
      const auto now = std::chrono::steady_clock::now();
      if (leave_at_ && *leave_at_ <= now) {
        if (told_) return *told_;
        die_of(signal_);
      }
      int left = -1;
      if (leave_at_) {
        left = static_cast<int>(
            std::chrono::ceil<std::chrono::milliseconds>(*leave_at_ - now).count());
      }
      // poll(2) skips a descriptor that is closed.
      std::array<pollfd, 2> waited = {pollfd{signals_.get(), POLLIN, 0},
                                      pollfd{report_.get(), POLLIN, 0}};
      if (::poll(waited.data(), waited.size(), left) <= 0) continue;
      if (waited[0].revents != 0) hear();
      if (waited[1].revents != 0) read_report();
    }
  }

 private:
  void hear() {
    signalfd_siginfo heard{};
    while (::read(signals_.get(), &heard, sizeof heard) == sizeof heard) {
      const int signal = static_cast<int>(heard.ssi_signo);
      if (signal == SIGCHLD) continue;
      ::kill(child_, signal);
      signal_ = signal;
      leave_soon();
    }
  }

  void read_report() {
    uint8_t code = 0;
    const ssize_t got = ::read(report_.get(), &code, 1);
    if (got < 0 && errno == EINTR) return;
    report_.reset();
    if (got != 1) return;  // it died, or ends by itself
    told_ = code;
    leave_soon();
  }

  void leave_soon() {
    if (!leave_at_) leave_at_ = std::chrono::steady_clock::now() + patience_;
  }

  const pid_t child_;
  Descriptor report_, signals_;
  const std::chrono::milliseconds patience_;
  std::optional<int> told_;
  int signal_ = 0;
  std::optional<SteadyTime> leave_at_;
};

}  // namespace

void let_go_of_standard_streams() {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= 2; ++fd) null >= 0 ? ::dup2(null, fd) : ::close(fd);
  if (null > 2) ::close(null);
}

int run_in_child(const std::function<void(const Leave&)>& work,
                 std::chrono::milliseconds patience) {
  const auto in_this_process = [&work]() -> int {
    work([](int) {});
    return EXIT_FAILURE;
  };
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return in_this_process();
  Descriptor from(ends[0]);
  Descriptor to(ends[1]);
  sigset_t signals = passed_on();
  sigaddset(&signals, SIGCHLD);
  Descriptor heard(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!heard.is_open()) return in_this_process();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return in_this_process();
  }
  if (child == 0) {
    from.reset();
    heard.reset();
    be_the_child(work, std::move(to), parent, before);
  }
  to.reset();
  return Parent(child, std::move(from), std::move(heard), patience).wait();
}

}  // namespace keyfs
