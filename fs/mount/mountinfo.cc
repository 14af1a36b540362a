#include "fs/mount/mountinfo.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/file.h"

namespace keyfs {
namespace {

// \040 and the like (proc(5)).
std::string unescape(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](size_t at) {
      return at < text.size() && text[at] >= '0' && text[at] <= '7';
    };
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      result.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                         (text[i + 3] - '0')));
      i += 3;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

std::optional<std::string> read_proc(const std::string& path) {
  std::ifstream file(path);
  if (!file.is_open()) return std::nullopt;
  return std::string{std::istreambuf_iterator<char>(file), {}};
}

// A FUSE mount of another user answers statx(2) with EACCES; its id is still available.
std::optional<PlaceOfMount> mount_of_others(const std::string& path) {
  const Descriptor place(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!place.is_open()) return std::nullopt;
  const auto info = read_proc("/proc/self/fdinfo/" + std::to_string(place.get()));
  const auto mounts = read_mounts();
  constexpr std::string_view kField = "mnt_id:";
  const size_t at = info ? info->find(kField) : std::string::npos;
  errno = EACCES;
  if (!mounts || at == std::string::npos) return std::nullopt;
  const uint64_t id = std::strtoull(info->c_str() + at + kField.size(), nullptr, 10);
  for (const auto& entry : *mounts) {
    if (entry.id == id) return PlaceOfMount{{id, entry.device}, entry.mountpoint == path};
  }
  return std::nullopt;
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> entries;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    // 36 35 98:0 /root /mountpoint rw,noatime master:1 - type source options
    std::istringstream words(line);
    MountEntry entry;
    unsigned major = 0;
    unsigned minor = 0;
    char colon = '\0';
    std::string root;
    std::string mountpoint;
    words >> entry.id >> entry.parent >> major >> colon >> minor >> root >> mountpoint;
    std::string word;
    while (words >> word && word != "-") {
    }
    std::string type;
    if (word != "-" || !(words >> type)) continue;
    entry.device = ::makedev(major, minor);
    entry.root = unescape(root);
    entry.mountpoint = unescape(mountpoint);
    entry.type = unescape(type);
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::optional<std::vector<MountEntry>> read_mounts() {
  const auto text = read_proc("/proc/self/mountinfo");
  if (!text || text->empty()) return std::nullopt;
  return parse_mountinfo(*text);
}

std::optional<PlaceOfMount> mount_at(const std::string& path) {
  struct statx found {};
  // AT_STATX_DONT_SYNC: does not ask the file system.
  constexpr int kFlags = AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;
  if (::statx(AT_FDCWD, path.c_str(), kFlags, STATX_MNT_ID, &found) != 0) {
    return errno == EACCES ? mount_of_others(path) : std::nullopt;
  }
  PlaceOfMount place;
  place.mount = {found.stx_mnt_id, ::makedev(found.stx_dev_major, found.stx_dev_minor)};
  place.is_root = (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  return place;
}

const MountEntry* find_mount(const std::vector<MountEntry>& mounts, uint64_t id) {
  const auto found = std::find_if(mounts.begin(), mounts.end(),
                                  [&](const MountEntry& entry) { return entry.id == id; });
  return found == mounts.end() ? nullptr : &*found;
}

}  // namespace keyfs
