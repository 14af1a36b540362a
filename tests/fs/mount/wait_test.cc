// Waiting readers: which are released when, and that nobody else notices.
#include <dirent.h>
#include <poll.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <chrono>
#include <csignal>

#include "fs/mount/mount_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture
using std::chrono::milliseconds;
using std::chrono::seconds;

class WaitTest : public MountTest {
 protected:
  void make_side() override {
    FuseOptions options;
    options.open_deadline = deadline_;
    mount(std::make_unique<FuseSide>(options));
  }
  // A process that opens `name` and exits with the errno.
  pid_t open_in_child(const std::string& name, void (*before)() = nullptr) {
    return start([&] {
      if (before != nullptr) before();
      return open_error(path(name));
    });
  }

  Duration deadline_ = seconds(60);
};

TEST_F(WaitTest, a_hanging_reader_dies_of_SIGKILL_and_of_interrupt) {
  backend().hang(true);
  expect_deadly({SIGKILL, SIGINT, SIGTERM, SIGHUP}, [&] { return open_in_child("root-a"); });
}

TEST_F(WaitTest, two_hundred_hanging_readers_disturb_nobody_and_die) {
  backend().add("root-warm", "x");
  EXPECT_EQ(open_error(path("root-warm")), 0);
  EXPECT_EQ(run("ls " + root_).status, 0);
  backend().hang(true);
  std::vector<pid_t> children;
  for (int i = 0; i < 200; ++i) {
    children.push_back(open_in_child("root-" + std::to_string(i)));
  }
  backend().await_waiting(200);
  const auto begin = std::chrono::steady_clock::now();
  struct stat attributes {};
  struct statvfs figures {};
  EXPECT_EQ(::stat(path("root-cold").c_str(), &attributes), 0);
  EXPECT_EQ(::statvfs(root_.c_str(), &figures), 0);
  EXPECT_EQ(open_error(path("root-warm")), 0);
  EXPECT_EQ(open_error(path("app-a")), EACCES);
  EXPECT_LT(since(begin), seconds(1));
  const auto killed = std::chrono::steady_clock::now();
  for (const pid_t child : children) ::kill(child, SIGKILL);
  for (const pid_t child : children) EXPECT_EQ(wait_for(child), 128 + SIGKILL);
  EXPECT_LT(since(killed), seconds(2));
}

TEST_F(WaitTest, a_caught_signal_does_not_disturb_an_open) {
  for (const int signal : {SIGURG, SIGCHLD, SIGPROF}) {
    const std::string name = "root-" + std::to_string(signal);
    backend().hang(true);
    const pid_t child = open_in_child(name, [] {
      struct sigaction action {};
      action.sa_handler = [](int) {};
      for (const int caught : {SIGURG, SIGCHLD, SIGPROF}) ::sigaction(caught, &action, nullptr);
    });
    backend().await_waiting(1);
    for (int i = 0; i < 20; ++i) {
      ::kill(child, signal);
      ::usleep(5'000);
    }
    backend().hang(false);
    EXPECT_EQ(wait_for(child), 0) << signal;
  }
}

TEST_F(WaitTest, one_that_caught_a_signal_still_dies_of_SIGKILL) {
  backend().hang(true);
  const pid_t child = open_in_child("root-a", [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGURG, &action, nullptr);
  });
  backend().await_waiting(1);
  ::kill(child, SIGURG);
  ::usleep(200'000);
  const auto begin = std::chrono::steady_clock::now();
  ::kill(child, SIGKILL);
  EXPECT_EQ(wait_for(child), 128 + SIGKILL);
  EXPECT_LT(since(begin), seconds(1));
}

TEST_F(WaitTest, a_handler_for_interrupt_is_run_at_once) {
  backend().hang(true);
  const pid_t child = open_in_child("root-a", [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGINT, &action, nullptr);
  });
  backend().await_waiting(1);
  const auto begin = std::chrono::steady_clock::now();
  ::kill(child, SIGINT);
  EXPECT_EQ(wait_for(child), EINTR);
  EXPECT_LT(since(begin), seconds(1));
}

TEST_F(WaitTest, another_handler_is_run_after_the_grace) {
  backend().hang(true);
  const pid_t child = open_in_child("root-a", [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);
  });
  backend().await_waiting(1);
  ::kill(child, SIGUSR1);
  EXPECT_EQ(wait_for(child), EINTR);
}

TEST_F(WaitTest, a_hanging_listing_dies_of_SIGKILL) {
  backend().hang(true);
  const pid_t child = start([&] { return ::opendir(root_.c_str()) == nullptr ? 1 : 0; });
  backend().await_waiting(1);
  const auto begin = std::chrono::steady_clock::now();
  ::kill(child, SIGKILL);
  EXPECT_EQ(wait_for(child), 128 + SIGKILL);
  EXPECT_LT(since(begin), seconds(1));
}

TEST_F(WaitTest, the_end_of_the_mount_lets_everybody_go) {
  backend().hang(true);
  std::vector<pid_t> children;
  for (int i = 0; i < 20; ++i) children.push_back(open_in_child("root-" + std::to_string(i)));
  backend().await_waiting(20);
  const auto begin = std::chrono::steady_clock::now();
  side_->end_session();
  EXPECT_LT(since(begin), seconds(5));
  for (const pid_t child : children) EXPECT_NE(wait_for(child), 0);
  EXPECT_EQ(run("grep -c " + root_ + " /proc/self/mounts").output, "0\n");
}

class DeadlineTest : public WaitTest {
 protected:
  DeadlineTest() { deadline_ = milliseconds(200); }
};

TEST_F(DeadlineTest, an_open_fails_with_ETIMEDOUT) {
  backend().hang(true);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(open_error(path("root-a")), ETIMEDOUT);
  EXPECT_LT(since(begin), seconds(5));
  EXPECT_EQ(::opendir(root_.c_str()), nullptr);
  EXPECT_EQ(errno, ETIMEDOUT);
}

}  // namespace
}  // namespace keyfs
