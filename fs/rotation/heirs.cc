#include "fs/rotation/heirs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "fs/rotation/process_id.h"

namespace keyfs {
namespace {

using Device = std::pair<uint32_t, uint32_t>;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path.c_str()));
  if (!directory) return names;
  while (const dirent* entry = ::readdir(directory.get())) names.emplace_back(entry->d_name);
  return names;
}

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
  for (const std::string& name : names_in("/proc")) {
    pid_t pid = 0;
    const char* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data(), end, pid);
    if (error != std::errc() || rest != end || others.contains(pid)) continue;
    const std::string process = "/proc/" + name;
    const auto uid = uid_of(process);
    if (!uid) continue;
    for (const std::string& number : names_in(process + "/fd")) {
      const std::string descriptor = process + "/fd/" + number;
      const auto path = link_text(descriptor);
      if (!path) continue;
      const size_t slash = path->rfind('/');
      if (slash == path->npos) continue;
      const std::string_view file = std::string_view(*path).substr(slash + 1);
      const bool its = std::any_of(users.begin(), users.end(), [&](const KeyUser& user) {
        return user.uid == *uid && user.key == file;
      });
      if (its && device_of(descriptor) == device) return pid;
    }
  }
  return std::nullopt;
}

}  // namespace keyfs
