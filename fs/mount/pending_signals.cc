#include "fs/mount/pending_signals.h"

#include <charconv>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "base/file.h"

namespace keyfs {
namespace {

constexpr uint64_t mask_of(std::initializer_list<int> signals) {
  uint64_t mask = 0;
  for (const int signal : signals) mask |= uint64_t{1} << (signal - 1);
  return mask;
}

// Signals whose default action is to ignore, stop or continue (signal(7)); all others kill.
constexpr uint64_t kHarmless =
    mask_of({SIGCHLD, SIGURG, SIGWINCH, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU});
// Sent to ask a program to exit. A program with a handler for them wants to know now.
constexpr uint64_t kAsked = mask_of({SIGINT, SIGTERM, SIGHUP, SIGQUIT});
// Sent by runtimes, profilers and terminals all the time; their users do not expect system calls to
// fail.
constexpr uint64_t kAmbient =
    mask_of({SIGURG, SIGPROF, SIGVTALRM, SIGCHLD, SIGWINCH, SIGCONT, SIGIO});

std::optional<uint64_t> mask_in(std::string_view status, std::string_view field) {
  size_t at = status.starts_with(field) ? 0 : std::string_view::npos;
  for (size_t line = 0; at == std::string_view::npos;) {
    line = status.find('\n', line);
    if (line == std::string_view::npos) return std::nullopt;
    ++line;
    if (status.substr(line).starts_with(field)) at = line;
  }
  status.remove_prefix(at + field.size());
  while (!status.empty() && (status.front() == '\t' || status.front() == ' ')) {
    status.remove_prefix(1);
  }
  uint64_t mask = 0;
  const auto [end, error] = std::from_chars(status.data(), status.data() + status.size(), mask, 16);
  if (error != std::errc() || end == status.data()) return std::nullopt;
  return mask;
}

}  // namespace

Signalled signals_in(std::string_view status) {
  const auto own = mask_in(status, "SigPnd:");
  const auto shared = mask_in(status, "ShdPnd:");
  const auto blocked = mask_in(status, "SigBlk:");
  const auto ignored = mask_in(status, "SigIgn:");
  const auto caught = mask_in(status, "SigCgt:");
  if (!own || !shared || !blocked || !ignored || !caught) return Signalled::kUnknown;

  // A process that is killed has SIGKILL pending in each of its threads, whatever killed it.
  const uint64_t pending = *own | *shared;
  if ((pending & mask_of({SIGKILL})) != 0) return Signalled::kStop;
  const uint64_t due = pending & ~*blocked & ~*ignored;
  if ((due & ~*caught & ~kHarmless) != 0) return Signalled::kStop;
  if ((due & *caught & kAsked) != 0) return Signalled::kStop;
  if ((due & *caught & ~kAmbient) != 0) return Signalled::kHandler;
  return Signalled::kNo;
}

Signalled pending_signals(pid_t tid) {
  if (tid <= 0) return Signalled::kUnknown;
  const auto status = read_to_end("/proc/" + std::to_string(tid) + "/status");
  return status ? signals_in(*status) : Signalled::kUnknown;
}

}  // namespace keyfs
