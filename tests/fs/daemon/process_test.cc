// A process starts from the same state whatever its parent left it.
#include "fs/daemon/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>

namespace keyfs {
namespace {

// What `look` reports in a child that started with `birth`; "" if all is well.
std::string in_child(const std::function<void()>& birth,
                     const std::function<std::string(int keep)>& look) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int out = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 100);  // out of the way of what is tried
    ::close(ends[0]);
    ::close(ends[1]);
    birth();
    const std::string said = look(out);
    [[maybe_unused]] const ssize_t put = ::write(out, said.data(), said.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string all;
  std::array<char, 512> piece{};
  for (ssize_t got = 0; (got = ::read(ends[0], piece.data(), piece.size())) > 0;) {
    all.append(piece.data(), static_cast<size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? all : "died with " + std::to_string(status);
}

std::string set_up(int keep) {
  if (auto ok = set_up_process(); !ok) return ok.error().message;
  if (auto ok = set_up_daemon(keep); !ok) return ok.error().message;
  return "";
}

bool is_null_device(int fd) {
  struct stat about {};
  struct stat null {};
  return ::fstat(fd, &about) == 0 && ::stat("/dev/null", &null) == 0 &&
         about.st_rdev == null.st_rdev;
}

TEST(ProcessSetup, whichever_standard_descriptors_are_closed_are_opened_on_the_null_device) {
  for (unsigned closed = 0; closed < 8; ++closed) {
    const auto found = in_child(
        [&] {
          for (int fd = 0; fd <= 2; ++fd) {
            if ((closed >> fd & 1) != 0) ::close(fd);
          }
        },
        [&](int keep) -> std::string {
          if (auto error = set_up(keep); !error.empty()) return error;
          for (int fd = 0; fd <= 2; ++fd) {
            if (::fcntl(fd, F_GETFD) < 0) return std::to_string(fd) + " is closed";
            if ((closed >> fd & 1) != 0 && !is_null_device(fd)) {
              return std::to_string(fd) + " is something else";
            }
          }
          return "";
        });
    EXPECT_EQ(found, "") << closed;
  }
}

TEST(ProcessSetup, inherited_descriptors_are_closed_but_the_one_that_is_kept) {
  const auto found = in_child(
      [] {
        for (const int fd : {3, 9, 99, 101, 800}) ::dup2(0, fd);
        ::setenv("LISTEN_FDS", "1", 1);
      },
      [](int keep) -> std::string {
        if (auto error = set_up(keep); !error.empty()) return error;
        for (int fd = 3; fd < 1024; ++fd) {
          if (fd != keep && ::fcntl(fd, F_GETFD) >= 0) return std::to_string(fd) + " is open";
        }
        return ::getenv("LISTEN_FDS") == nullptr ? "" : "LISTEN_FDS is left";
      });
  EXPECT_EQ(found, "");
}

TEST(ProcessSetup, no_signal_is_blocked_and_none_ignored_that_matters) {
  const auto found = in_child(
      [] {
        for (const int signal : {SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGUSR2}) {
          std::signal(signal, SIG_IGN);
        }
        std::signal(SIGPIPE, SIG_DFL);
        sigset_t all;
        sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
      },
      [](int keep) -> std::string {
        if (auto error = set_up(keep); !error.empty()) return error;
        sigset_t blocked;
        ::sigprocmask(SIG_SETMASK, nullptr, &blocked);
        for (int signal = 1; signal <= SIGRTMAX; ++signal) {
          if (sigismember(&blocked, signal) == 1) return std::to_string(signal) + " is blocked";
        }
        const auto ignored = [](int signal) {
          struct sigaction action {};
          ::sigaction(signal, nullptr, &action);
          return action.sa_handler == SIG_IGN;
        };
        for (const int signal : {SIGCHLD, SIGTERM, SIGHUP, SIGUSR2}) {
          if (ignored(signal)) return std::to_string(signal) + " is ignored";
        }
        if (!ignored(SIGINT)) return "SIGINT, which the user ignores, is not";
        return ignored(SIGPIPE) && ignored(SIGXFSZ) ? "" : "a failed write would kill";
      });
  EXPECT_EQ(found, "");
}

TEST(ProcessSetup, umask_folder_and_limits_are_our_own) {
  const auto found = in_child(
      [] {
        ::umask(0);
        const rlimit core{RLIM_INFINITY, RLIM_INFINITY};
        ::setrlimit(RLIMIT_CORE, &core);
        rlimit files{};
        ::getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = 128;
        ::setrlimit(RLIMIT_NOFILE, &files);
        ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        [[maybe_unused]] const int moved = ::chdir("/tmp");
      },
      [](int keep) -> std::string {
        if (auto error = set_up(keep); !error.empty()) return error;
        if (::umask(0) != 077) return "umask";
        std::array<char, PATH_MAX> where{};
        if (::getcwd(where.data(), where.size()) == nullptr || std::string(where.data()) != "/") {
          return "folder";
        }
        rlimit limit{};
        ::getrlimit(RLIMIT_CORE, &limit);
        if (limit.rlim_cur != 0 || ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return "core";
        ::getrlimit(RLIMIT_NOFILE, &limit);
        return limit.rlim_cur > 128 || limit.rlim_max <= 128 ? "" : "descriptors";
      });
  EXPECT_EQ(found, "");
}

}  // namespace
}  // namespace keyfs
