// A FuseSide with a real mount. Needs root and /dev/fuse; the tests are skipped without.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <string>

#include "fs/mount/fixture.h"

namespace keyfs::testing {

inline bool can_mount() { return ::geteuid() == 0 && ::access("/dev/fuse", R_OK | W_OK) == 0; }

struct Ran {
  int status = -1;
  std::string output;  // both streams
};
inline Ran run(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "r");
  std::array<char, 4096> buffer{};
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    ran.output.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ran;
}

inline std::string as_user(int uid, const std::string& command, const std::string& groups = "") {
  return "setpriv --reuid=" + std::to_string(uid) + " --regid=" + std::to_string(uid) +
         (groups.empty() ? " --clear-groups " : " --groups=" + groups + " ") + command;
}

// A process that runs `work` and exits with its result. It has none of our descriptors: if it
// waited for the mount while holding /dev/fuse open, it would outlive the daemon and could not be
// killed.
template <class Work>
pid_t start(Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close_range(3, ~0U, 0);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);  // a daemon's are blocked
    ::_exit(work());
  }
  return child;
}
inline int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
// The errno of open(2), or 0.
inline int open_error(const std::string& path, int flags = O_RDONLY) {
  const int file = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (file < 0) return errno;
  ::close(file);
  return 0;
}

class MountTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_mount()) GTEST_SKIP() << "needs root and /dev/fuse";
    ::chmod(dir_.path().c_str(), 0755);
    root_ = dir_.path() + "/mnt";
    std::filesystem::create_directory(root_);
    make_side();
  }
  virtual void make_side() { mount(std::make_unique<FuseSide>()); }
  void mount(std::unique_ptr<FuseSide> side) {
    side_ = std::move(side);
    auto session = FuseSession::mount({root_, ""}, side_->ops, side_->log.log());
    ASSERT_TRUE(session) << session.error().message;
    side_->serve(std::move(*session));
  }
  FakeBackend& backend() { return side_->backend; }
  std::string path(const std::string& name) const { return root_ + "/" + name; }

  static std::chrono::milliseconds since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 begin);
  }
  // A child that waits in the mount, as created by `start_waiting`, dies immediately of each of
  // them.
  void expect_deadly(std::initializer_list<int> signals,
                     const std::function<pid_t()>& start_waiting) {
    for (const int signal : signals) {
      const pid_t child = start_waiting();
      backend().await_waiting(1);
      const auto begin = std::chrono::steady_clock::now();
      ::kill(child, signal);
      EXPECT_EQ(wait_for(child), 128 + signal);
      EXPECT_LT(since(begin), std::chrono::seconds(1)) << signal;
      backend().await_waiting(0);
    }
  }

  MountDirectory dir_;
  std::string root_;
  std::unique_ptr<FuseSide> side_;
};

}  // namespace keyfs::testing
