#include "fs/cli/command_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>

#include "base/file.h"

namespace keyfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

[[noreturn]] void stay() {
  for (;;) ::pause();
}

// Sent to the child, and it does not end: as in state D, where no signal is acted upon.
void be_deaf() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) std::signal(signal, SIG_IGN);
}

// A program that runs its command apart, with its standard output in a pipe.
class Program {
 public:
  explicit Program(
      const std::function<void(const Leave&)>& work, const std::function<void()>& birth = [] {},
      milliseconds patience = milliseconds(300)) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    std::fflush(
        nullptr);  // what the runner of the tests has said must not come once more from the child
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      birth();
      ::_exit(run_in_child(work, patience));
    }
    ::close(ends[1]);
    out_ = Descriptor(ends[0]);
  }
  ~Program() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  // Until `count` bytes, or the end.
  std::string read(size_t count = 1000) {
    std::string all;
    std::array<char, 64> piece{};
    while (all.size() < count) {
      const ssize_t got = ::read(out_.get(), piece.data(), std::min(piece.size(), count));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      all.append(piece.data(), static_cast<size_t>(got));
    }
    return all;
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }

 private:
  pid_t pid_ = 0;
  Descriptor out_;
};

void say(const char* text) { (void)write_all(STDOUT_FILENO, std::string_view(text)); }

TEST(CommandProcess, its_exit_code_is_the_commands) {
  for (const int code : {0, 1, 2, 3}) {
    Program program([code](const Leave& leave) {
      say("answer");
      leave(code);
      ::_exit(code);
    });
    EXPECT_EQ(program.read(), "answer");
    const int status = program.wait();
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), code);
  }
}

TEST(CommandProcess, one_that_has_told_its_code_and_cannot_end_is_left) {
  Program program([](const Leave& leave) {
    be_deaf();
    say("answer");
    leave(3);
    stay();
  });
  EXPECT_EQ(program.read(), "answer");
  const int status = program.wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST(CommandProcess, whoever_reads_its_output_sees_the_end_before_it_ends) {
  Program program(
      [](const Leave& leave) {
        say("answer");
        leave(0);
        stay();
      },
      // Of the parent, which has standard output too.
      [] {}, seconds(1));
  EXPECT_EQ(program.read(), "answer");
  EXPECT_TRUE(WIFEXITED(program.wait()));
}

TEST(CommandProcess, long_work_is_waited_for) {
  Program program(
      [](const Leave& leave) {
        const auto end = std::chrono::steady_clock::now() + milliseconds(200);
        while (std::chrono::steady_clock::now() < end) {
        }
        leave(0);
        ::_exit(0);
      },
      [] {}, milliseconds(1));
  EXPECT_EQ(program.wait(), 0);
}

TEST(CommandProcess, what_a_leak_checker_says_at_the_end_counts) {
  Program program([](const Leave& leave) {
    leave(0);
    ::_exit(23);
  });
  EXPECT_EQ(WEXITSTATUS(program.wait()), 23);
}

TEST(CommandProcess, it_dies_of_the_signal_that_it_passes_on) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    Program program([](const Leave&) {
      say("x");
      stay();
    });
    EXPECT_EQ(program.read(1), "x");
    ::kill(program.pid(), signal);
    EXPECT_EQ(program.read(), "") << "the child has ended, too";
    const int status = program.wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << signal << ": " << status;
  }
}

TEST(CommandProcess, a_signal_ends_it_although_the_child_does_not_act_on_it) {
  Program program([](const Leave&) {
    be_deaf();
    say("x");
    stay();
  });
  EXPECT_EQ(program.read(1), "x");
  ::kill(program.pid(), SIGTERM);
  const int status = program.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
}

TEST(CommandProcess, a_signal_that_the_user_ignores_is_ignored) {
  Program program(
      [](const Leave& leave) {
        say("x");
        ::kill(::getppid(), SIGHUP);
        ::raise(SIGHUP);
        leave(0);
        ::_exit(0);
      },
      [] { std::signal(SIGHUP, SIG_IGN); });
  EXPECT_EQ(program.read(), "x");
  EXPECT_EQ(program.wait(), 0);
}

TEST(CommandProcess, it_dies_of_what_the_child_died_of) {
  Program program([](const Leave&) { ::raise(SIGKILL); });
  const int status = program.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

TEST(CommandProcess, the_child_does_not_outlive_it) {
  Program program([](const Leave&) {
    be_deaf();
    say("x");
    stay();
  });
  EXPECT_EQ(program.read(1), "x");
  ::kill(program.pid(), SIGKILL);
  EXPECT_EQ(program.read(), "") << "the end of the child's output, which it has not closed";
}

TEST(CommandProcess, both_are_in_one_process_group) {
  Program program([](const Leave& leave) {
    leave(::getpgid(0) == ::getpgid(::getppid()) ? 0 : 1);
    ::_exit(::getpgid(0) == ::getpgid(::getppid()) ? 0 : 1);
  });
  EXPECT_EQ(program.wait(), 0);
}

}  // namespace
}  // namespace keyfs
