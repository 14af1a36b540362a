#include "fs/daemon/background.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>

namespace keyfs {
namespace {

struct Started {
  StartOutcome outcome;
  int exit_code;  // of the child; -1 when it had to be ended
};

// Forks; `act` is the child's part, which ends the child.
Started start(const std::function<void(StartReport&)>& act, bool end = false) {
  auto background = Background::fork_process();
  EXPECT_TRUE(background);
  if (background->child) {
    act(*background->child);
    ::_exit(7);
  }
  Started started{background->wait_for_child(), -1};
  if (end) ::kill(background->pid, SIGKILL);
  int status = 0;
  // ECHILD: wait_for_child() has been there.
  if (::waitpid(background->pid, &status, 0) > 0 && WIFEXITED(status))
    started.exit_code = WEXITSTATUS(status);
  return started;
}

TEST(Daemon, the_parent_hears_that_it_is_up_while_the_child_goes_on) {
  const auto started = start(
      [](StartReport& report) {
        if (!report.up("/mnt/keys")) ::_exit(1);
        ::pause();
      },
      true);
  EXPECT_EQ(started.outcome.code, ExitCode::kDone);
  EXPECT_EQ(started.outcome.message, "/mnt/keys");
}

TEST(Daemon, a_failure_comes_with_its_message_and_exit_code) {
  const auto started = start([](StartReport& report) {
    report.failed(ExitCode::kUsage, "keyfs.ini:3: no");
    ::_exit(2);
  });
  EXPECT_EQ(started.outcome.code, ExitCode::kUsage);
  EXPECT_EQ(started.outcome.message, "keyfs.ini:3: no");
}

TEST(Daemon, a_failure_is_told_although_the_child_cannot_end) {
  const auto started = start(
      [](StartReport& report) {
        report.failed(ExitCode::kFailed, "opening state_dir takes longer than 1.0 s");
        for (;;) ::pause();
      },
      true);
  EXPECT_EQ(started.outcome.code, ExitCode::kFailed);
  EXPECT_EQ(started.outcome.message, "opening state_dir takes longer than 1.0 s");
}

TEST(Daemon, a_child_that_ends_without_a_word_is_a_failure) {
  EXPECT_EQ(start([](StartReport&) { ::_exit(0); }).outcome.code, ExitCode::kFailed);
  const auto killed = start([](StartReport&) { ::raise(SIGKILL); });
  EXPECT_EQ(killed.outcome.code, ExitCode::kFailed);
  EXPECT_NE(killed.outcome.message.find("signal 9"), std::string::npos) << killed.outcome.message;
}

TEST(Daemon, the_child_lets_go_of_the_terminal) {
  const auto started = start([](StartReport& report) {
    const bool up = report.up("").has_value();
    struct stat null {};
    struct stat out {};
    ::stat("/dev/null", &null);
    ::fstat(STDERR_FILENO, &out);
    ::_exit(up && null.st_rdev == out.st_rdev && ::getsid(0) == ::getpid() ? 0 : 1);
  });
  EXPECT_EQ(started.outcome.code, ExitCode::kDone);
  EXPECT_EQ(started.exit_code, 0);
}

}  // namespace
}  // namespace keyfs
