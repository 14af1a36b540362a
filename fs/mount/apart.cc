#include "fs/mount/apart.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "base/file.h"

namespace keyfs {
namespace {

// Waits for a child that was killed, unless it sleeps where nothing reaches it.
void bury(pid_t child) {
  ::kill(child, SIGKILL);
  for (int i = 0; i < 100; ++i) {
    const pid_t ended = ::waitpid(child, nullptr, WNOHANG);
    if (ended == child || (ended < 0 && errno != EINTR)) return;
    ::poll(nullptr, 0, 1);
  }
}

}  // namespace

Result<std::string> work_apart(const std::function<std::string()>& work,
                               std::chrono::milliseconds limit) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(os_error("pipe", "cannot be created"));
  const Descriptor from(ends[0]);
  Descriptor to(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail(os_error("fork", "no process can be started"));
  if (child == 0) {
    // The prefix '+' distinguishes an empty answer from none.
    ::_exit(write_all(to.get(), "+" + work()) ? 0 : 1);
  }
  to.reset();
  const auto end = std::chrono::steady_clock::now() + limit;
  std::string answer;
  std::array<char, 16384> piece{};
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd waited{from.get(), POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : ::poll(&waited, 1, static_cast<int>(left.count()));
    if (ready < 0) continue;
    if (ready == 0) {
      bury(child);
      return fail(Code::kTimeout, "no answer");
    }
    const ssize_t got = ::read(from.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    answer.append(piece.data(), static_cast<size_t>(got));
  }
  bury(child);
  if (answer.empty()) return fail(Code::kUnavailable, "the helper process died");
  return answer.substr(1);
}

}  // namespace keyfs
