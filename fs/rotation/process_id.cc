#include "fs/rotation/process_id.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"

extern "C" {  // which glibc 2.36's own header lacks
#include <sys/pidfd.h>
}

namespace keyfs {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

std::string proc(pid_t pid) { return "/proc/" + std::to_string(pid); }

}  // namespace

std::optional<ProcessStat> process_stat(pid_t pid) {
  if (pid <= 0) return std::nullopt;
  const auto text = read_to_end(proc(pid) + "/stat");
  if (!text) return std::nullopt;
  // The second field is a name that the process chose, and may hold blanks and brackets.
  const size_t name_end = text->rfind(')');
  if (name_end == text->npos || name_end + 2 >= text->size()) return std::nullopt;
  std::string_view rest = std::string_view(*text).substr(name_end + 2);
  ProcessStat stat;
  stat.state = rest[0];
  constexpr size_t kFirst = 3;  // proc(5) counts from 1, and `rest` begins with field 3
  constexpr size_t kLast = 22;
  for (size_t field = kFirst; field <= kLast; ++field) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    const auto take = [&](auto& into) {
      return std::from_chars(word.data(), word.data() + word.size(), into).ec == std::errc();
    };
    const bool good = field == 4    ? take(stat.parent)
                      : field == 5  ? take(stat.group)
                      : field == 6  ? take(stat.session)
                      : field == 20 ? take(stat.threads)
                      : field == 22 ? take(stat.start)
                                    : true;
    if (!good) return std::nullopt;
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  }
  return stat;
}

std::optional<std::string> link_text(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) return std::nullopt;
  return std::string(target.data(), static_cast<size_t>(size));
}

std::string without_deleted(std::string path) {
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

std::vector<std::string> names_in_proc(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) return names;
  while (const dirent* entry = ::readdir(directory.get())) names.emplace_back(entry->d_name);
  return names;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> all;
  for (const std::string& name : names_in_proc("/proc")) {
    const char* const end = name.data() + name.size();
    pid_t pid = 0;
    const auto [rest, error] = std::from_chars(name.data(), end, pid);
    if (error == std::errc() && rest == end) all.push_back(pid);
  }
  return all;
}

std::optional<ProcessId> process_as_of(pid_t pid, TimePoint then) {
  const auto stat = process_stat(pid);
  if (!stat || !stat->runs()) return std::nullopt;
  const long ticks = ::sysconf(_SC_CLK_TCK);
  if (ticks <= 0) return std::nullopt;
  // Rounded down by the kernel: within this tick it may have started after `then`, but to get a
  // number that somebody had at `then`, all others must have been given out in that hundredth of a
  // second.
  const Duration tick = Duration(std::chrono::seconds(1)) / ticks;
  const TimePoint started{tick * static_cast<int64_t>(stat->start)};
  if (started > then) return std::nullopt;
  return ProcessId{pid, stat->start};
}

bool is_running(const ProcessId& process) {
  const auto stat = process_stat(process.pid);
  return stat && stat->start == process.start && stat->runs();
}

std::string program_of(pid_t pid) {
  return without_deleted(link_text(proc(pid) + "/exe").value_or(""));
}

Sent send_signal(const ProcessId& process, const std::string& program, int signal) {
  if (process.pid <= 0) return Sent::kGone;
  const Descriptor held(::pidfd_open(process.pid, 0));
  if (!held.is_open()) {
    return errno == ESRCH || errno == EINVAL ? Sent::kGone : Sent::kRefused;
  }
  // What is held now had the number before this look at it. If the look shows the process that we
  // mean, which has had the number ever since we know it, then that is what is held.
  if (!is_running(process)) return Sent::kGone;
  if (!program.empty()) {
    const auto now = link_text(proc(process.pid) + "/exe");
    // Where it can't be read for want of permission, number and start must do.
    if (now ? without_deleted(*now) != program : errno != EACCES && errno != EPERM) {
      return Sent::kGone;
    }
  }
  if (::pidfd_send_signal(held.get(), signal, nullptr, 0) == 0) return Sent::kSent;
  return errno == ESRCH ? Sent::kGone : Sent::kRefused;
}

std::string process_epoch() {
  const auto boot = read_to_end("/proc/sys/kernel/random/boot_id");
  const auto numbers = link_text("/proc/self/ns/pid");
  if (!boot || !numbers || boot->empty()) return "";
  return boot->substr(0, boot->find('\n')) + " " + *numbers;
}

}  // namespace keyfs
