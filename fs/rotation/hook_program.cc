#include "fs/rotation/hook_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/file.h"
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

// What posix_spawn() takes, freed at the end.
struct Set {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  Set() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  Set(const Set&) = delete;
  Set& operator=(const Set&) = delete;
  ~Set() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

Result<pid_t> start(HookProgram& program, int output) {
  Set set;
  posix_spawn_file_actions_addopen(&set.actions, 0, "/dev/null", O_RDONLY, 0);
  if (output >= 0) {
    posix_spawn_file_actions_adddup2(&set.actions, output, 1);
  } else {
    posix_spawn_file_actions_addopen(&set.actions, 1, "/dev/null", O_WRONLY, 0);
  }
  posix_spawn_file_actions_addopen(&set.actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&set.actions, 3);
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&set.attributes, &all);
  posix_spawnattr_setsigmask(&set.attributes, &none);
  // A session is a process group too, and has no terminal that could stop it.
  posix_spawnattr_setflags(&set.attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  auto arguments = pointers(program.arguments);
  auto environment = pointers(program.environment);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, arguments[0], &set.actions, &set.attributes,
                                  arguments.data(), environment.data());
  if (error == 0) return pid;
  const std::string& path = program.arguments[0];
  if (error == ENOEXEC) {
    return fail(Code::kUnavailable, path +
                                        ": cannot be started: it is neither a program for this "
                                        "machine nor a script that begins with #!");
  }
  return fail(os_error(path, "cannot be started", error));
}

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
  const auto started = start(program, in.get());
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
