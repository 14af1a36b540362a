#include "fs/daemon/background.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace keyfs {
namespace {

std::string reason() { return std::generic_category().message(errno); }

// The report: one byte, the exit code, then the message. Code 0 means: up.
void report(int fd, char code, const std::string& message) {
  (void)write_all(fd, code + message);  // unless the parent was killed: nobody to tell
}

std::string read_all(int fd) {
  std::string all;
  std::array<char, 4096> piece;
  for (;;) {
    const ssize_t count = ::read(fd, piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return all;
    all.append(piece.data(), static_cast<size_t>(count));
  }
}

}  // namespace

StartReport::StartReport(StartReport&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), background_(other.background_) {}

StartReport& StartReport::operator=(StartReport&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    background_ = other.background_;
  }
  return *this;
}

StartReport::~StartReport() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> StartReport::up(const std::string& text) {
  if (!background_) return {};
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) {
    return fail(Code::kUnavailable, "could not detach from the terminal: " + reason());
  }
  for (int fd = 0; fd <= 2; ++fd) ::dup2(null, fd);
  ::close(null);
  report(fd_, '\0', text);
  ::close(std::exchange(fd_, -1));
  return {};
}

void StartReport::failed(ExitCode code, const std::string& message) {
  if (fd_ < 0) return;
  report(fd_, static_cast<char>(code), message);
  ::close(std::exchange(fd_, -1));
}

Result<Background> Background::fork_process() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(Code::kUnavailable, "could not create a pipe: " + reason());
  }
  const pid_t pid = ::fork();
  if (pid < 0) {
    const std::string why = reason();
    ::close(ends[0]);
    ::close(ends[1]);
    return fail(Code::kUnavailable, "could not fork: " + why);
  }
  Background half;
  if (pid == 0) {
    ::close(ends[0]);
    ::setsid();
    half.child.emplace(ends[1]);
    half.child->background_ = true;
  } else {
    ::close(ends[1]);
    half.pid = pid;
    half.fd = ends[0];
  }
  return half;
}

StartOutcome Background::wait_for_child() const {
  const std::string report = read_all(fd);
  ::close(fd);
  if (!report.empty() && report[0] == 0) return {ExitCode::kDone, report.substr(1)};
  if (!report.empty()) {
    // Usually it is gone at once; but a thread that waits for a dead disk can't be ended.
    for (int i = 0; i < 100 && ::waitpid(pid, nullptr, WNOHANG) == 0; ++i) ::poll(nullptr, 0, 10);
    return {static_cast<ExitCode>(report[0]), report.substr(1)};
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    return {ExitCode::kFailed, "the daemon was killed by signal " +
                                   std::to_string(WTERMSIG(status)) + " (" +
                                   ::strsignal(WTERMSIG(status)) + ") during startup"};
  }
  return {ExitCode::kFailed,
          "the daemon exited with code " + std::to_string(WEXITSTATUS(status)) + " during startup"};
}

}  // namespace keyfs
