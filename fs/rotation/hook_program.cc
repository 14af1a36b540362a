#include "fs/rotation/hook_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/file.h"
#include "fs/rotation/hook_start.h"
#include "fs/rotation/process_tree.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

constexpr auto kFirstPause = 1ms;
constexpr auto kLongestPause = 20ms;  // how soon it is noticed that it ended, or is not wanted
// How long the kernel may take for a process that was killed. It is left then: in a system call on a
// file system that hangs it may stay for ever.
constexpr auto kLastPatience = 500ms;

// What is there now; keeps the last bytes. False at its end.
bool take_output(int from, std::string& output, size_t most) {
  std::array<char, 4096> piece;
  for (;;) {
    const ssize_t size = ::read(from, piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return size < 0;
    output.append(piece.data(), static_cast<size_t>(size));
    if (output.size() > most) output.erase(0, output.size() - most);
  }
}

// True once it was reaped.
bool reap(pid_t pid, int& status) {
  for (;;) {
    const pid_t ended = ::waitpid(pid, &status, WNOHANG);
    if (ended == pid || (ended < 0 && errno != EINTR)) return true;
    if (ended == 0) return false;
  }
}

void pause(int readable, Steady::duration time) {
  const auto ms = std::max<int64_t>(1, std::chrono::ceil<std::chrono::milliseconds>(time).count());
  pollfd ready{readable, POLLIN, 0};
  ::poll(&ready, readable >= 0 ? 1 : 0, static_cast<int>(ms));
}

}  // namespace

void reap_at_last(const HookEnd& end) {
  while (end.left > 0 && ::waitpid(end.left, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::string to_string(const HookEnd& end) {
  if (end.killed) return "did not end in time, and was killed";
  if (end.signal != 0) return "was killed by signal " + std::to_string(end.signal);
  return "exited with code " + std::to_string(end.code);
}

Result<HookEnd> run_program(HookProgram program, const std::atomic<bool>& dropped) {
  Descriptor out;
  Descriptor in;
  if (program.output != 0) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
      return fail(os_error("a pipe", "cannot be made"));
    out = Descriptor(ends[0]);
    in = Descriptor(ends[1]);
    ::fcntl(in.get(), F_SETFL, 0);  // its own end waits, as programs expect
  }
  if (dropped) return fail(Code::kTimeout, program.arguments[0] + ": nobody waits for it");
  const auto started = start_hook(program.arguments, program.environment, in.get());
  if (!started) return fail(started.error());
  in.reset();
  const pid_t pid = *started;
  HookEnd end;
  int status = 0;
  bool closed = false;  // its output; children may have it open after its end
  auto wait = kFirstPause;
  while (!reap(pid, status)) {
    const auto now = Steady::now();
    if (dropped || now >= program.until) {
      kill_with_descendants(pid);
      const auto patience = Steady::now() + kLastPatience;
      while (!reap(pid, status)) {
        if (Steady::now() < patience) {
          pause(-1, kFirstPause);
          continue;
        }
        end.left = pid;
        break;
      }
      end.killed = true;
      return end;
    }
    const Steady::duration left = program.until - now;
    pause(closed ? -1 : out.get(), std::min<Steady::duration>(left, wait));
    wait = std::min(wait * 2, std::chrono::milliseconds(kLongestPause));
    if (out.is_open() && !closed) {
      closed = !take_output(out.get(), end.output, program.output);
    }
  }
  if (out.is_open()) take_output(out.get(), end.output, program.output);
  if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  return end;
}

}  // namespace keyfs
