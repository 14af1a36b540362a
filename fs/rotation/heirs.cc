#include "fs/rotation/heirs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "fs/rotation/process_id.h"

namespace keyfs {
namespace {

using Device = std::pair<uint32_t, uint32_t>;

// Of what the kernel knows already: a mount that hangs, or is our own, is not asked.
std::optional<Device> device_of(const std::string& path) {
  struct statx about {};
  if (::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &about) != 0) {
    return std::nullopt;
  }
  return Device(about.stx_dev_major, about.stx_dev_minor);
}

// The effective one. Not the owner of /proc/PID, which is root for a process that may not be dumped.
std::optional<uid_t> uid_of(const std::string& process) {
  constexpr size_t kMaxStatus = 16384;
  constexpr std::string_view kBegin = "\nUid:\t";
  const auto text = read_to_end(process + "/status", kMaxStatus);
  if (!text) return std::nullopt;
  const size_t real = text->find(kBegin);
  if (real == text->npos) return std::nullopt;
  const size_t effective = text->find('\t', real + kBegin.size());
  if (effective == text->npos) return std::nullopt;
  uid_t uid = 0;
  const char* const end = text->data() + text->size();
  if (std::from_chars(text->data() + effective + 1, end, uid).ec != std::errc()) {
    return std::nullopt;
  }
  return uid;
}

}  // namespace

std::optional<pid_t> heir_of(const std::string& mountpoint, const std::vector<KeyUser>& users,
                             const std::set<pid_t>& others) {
  const auto device = device_of(mountpoint);
  if (!device || users.empty()) return std::nullopt;
  for (const pid_t pid : all_processes()) {
    if (others.contains(pid)) continue;
    const std::string process = "/proc/" + std::to_string(pid);
    const auto uid = uid_of(process);
    const auto is_its = [&](const KeyUser& user) { return uid && user.uid == *uid; };
    if (std::none_of(users.begin(), users.end(), is_its)) continue;  // most are others'
    for (const std::string& number : names_in_proc(process + "/fd")) {
      const std::string descriptor = process + "/fd/" + number;
      const auto path = link_text(descriptor);
      if (!path) continue;
      const size_t slash = path->rfind('/');
      if (slash == path->npos) continue;
      const std::string_view file = std::string_view(*path).substr(slash + 1);
      const bool its = std::any_of(users.begin(), users.end(), [&](const KeyUser& user) {
        return is_its(user) && user.key == file;
      });
      if (its && device_of(descriptor) == device) return pid;
    }
  }
  return std::nullopt;
}

}  // namespace keyfs
