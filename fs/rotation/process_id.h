// Which process it is: its number, and when it started. A number alone is given to another process
// once the first has ended.
//
// Thread-safety: plain functions. Blocking: never; they read small files of /proc. Errors: those
// named below.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"

namespace keyfs {

struct ProcessId {
  pid_t pid = 0;
  uint64_t start = 0;  // clock ticks after the machine's

  auto operator<=>(const ProcessId&) const = default;  // NOLINT(modernize-use-nullptr)
};

// What /proc/PID/stat says of whoever has that number now.
struct ProcessStat {
  char state = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  uint64_t threads = 0;
  uint64_t start = 0;

  // The first thread of a process may end before the others do: it is a zombie until then.
  bool runs() const { return (state != 'Z' && state != 'X') || threads > 1; }
};
std::optional<ProcessStat> process_stat(pid_t pid);

// What /proc names in that folder of it, in no order; nothing if it can't be read.
std::vector<std::string> names_in_proc(const std::string& path);
// Numbers of all processes that /proc shows.
std::vector<pid_t> all_processes();

// The process that has that number now, if it is the one that had it at `then` (CLOCK_BOOTTIME),
// which is so if it had already started. nullopt: it has ended.
std::optional<ProcessId> process_as_of(pid_t pid, TimePoint then);

// False for a zombie too: it runs no longer.
bool is_running(const ProcessId& process);

// Where a symbolic link of /proc points to; nullopt: errno says why.
std::optional<std::string> link_text(const std::string& path);

// What it runs now, as /proc names it, without the " (deleted)" of a program that was replaced on
// disk; empty if that can't be read.
std::string program_of(pid_t pid);
// Takes that ending off.
std::string without_deleted(std::string path);

enum class Sent : uint8_t {
  kSent,
  kGone,     // it has ended, whoever has its number now
  kRefused,  // we may not; errno says why
};
// Sends a signal to that process, and never to another one: the process is held by a pidfd while
// its start is compared. `program`: what it must run still, since exec(2) keeps both number and
// start; empty: anything.
Sent send_signal(const ProcessId& process, const std::string& program, int signal);

// What the numbers of processes depend on: the boot of the machine and our PID namespace. Empty if
// it can't be learned; then numbers must not outlive us.
std::string process_epoch();

}  // namespace keyfs
