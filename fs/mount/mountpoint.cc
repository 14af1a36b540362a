#include "fs/mount/mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>

namespace keyfs {
namespace {

constexpr std::string_view kOurType = "fuse.keyfs";

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

// What is on top of `path`.
std::optional<MountEntry> mounted_at(const std::string& path) {
  std::ifstream file("/proc/self/mountinfo");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::optional<MountEntry> top;
  for (auto& entry : parse_mountinfo(text)) {
    if (entry.mountpoint == path) top = std::move(entry);
  }
  return top;
}

// The last component is not looked at: it may be a dead mount, which realpath() fails on.
Result<std::string> absolute(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.ends_with('/')) trimmed.pop_back();
  const size_t slash = trimmed.rfind('/');
  std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, slash);
  if (parent.empty()) parent = std::string(1, '/');
  const std::string last = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  struct stat link {};
  const bool plain = !last.empty() && last != "." && last != ".." &&
                     (::lstat(trimmed.c_str(), &link) != 0 || !S_ISLNK(link.st_mode));
  std::array<char, PATH_MAX> buffer{};
  if (::realpath(plain ? parent.c_str() : trimmed.c_str(), buffer.data()) == nullptr) {
    return fail(Code::kInvalid,
                "cannot mount on " + path + ": " +
                    (errno == ENOENT ? "there is no such directory" : std::strerror(errno)));
  }
  std::string result = buffer.data();
  if (!plain) return result;
  if (result != "/") result += '/';
  return result + last;
}

bool is_empty(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (directory == nullptr) return true;  // nobody can tell, and it is only for a warning
  while (const dirent* entry = ::readdir(directory.get())) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) return false;
  }
  return true;
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> entries;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    // 36 35 98:0 /root /mountpoint rw,noatime master:1 - type source options
    std::istringstream words(line);
    std::string skipped;
    std::string mountpoint;
    for (int i = 0; i < 4; ++i) words >> skipped;
    words >> mountpoint;
    std::string word;
    while (words >> word && word != "-") {
    }
    std::string type;
    if (word == "-" && words >> type) entries.push_back({unescape(mountpoint), unescape(type)});
  }
  return entries;
}

Result<void> lazy_unmount(const std::string& path) {
  if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
  const int refused = errno;
  std::string program = "fusermount3";
  std::array<std::string, 4> words = {program, "-uqz", "--", path};
  std::array<char*, 5> arguments = {words[0].data(), words[1].data(), words[2].data(),
                                    words[3].data(), nullptr};
  pid_t child = 0;
  int status = 0;
  if (::posix_spawnp(&child, "fusermount3", nullptr, nullptr, arguments.data(), environ) == 0) {
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  }
  return fail(Code::kUnavailable, "cannot unmount " + path + ": " + std::strerror(refused));
}

Result<std::string> prepare_mountpoint(const std::string& path, Log& log) {
  const auto target = absolute(path);
  if (!target) return target;
  constexpr int kMostStacked = 16;
  for (int i = 0; i < kMostStacked; ++i) {
    const auto mounted = mounted_at(*target);
    if (!mounted) break;
    if (mounted->type != kOurType) {
      return fail(Code::kInvalid, "cannot mount on " + *target + ": a file system of type " +
                                      mounted->type + " is mounted there");
    }
    // Not stat(2): the kernel may still hold the attributes of a dead mount's root.
    struct statfs figures {};
    if (::statfs(target->c_str(), &figures) == 0 || errno != ENOTCONN) {
      return fail(Code::kInvalid, "cannot mount on " + *target +
                                      ": a keyfs is mounted there already, and is alive");
    }
    if (auto unmounted = lazy_unmount(*target); !unmounted) {
      return fail(unmounted.error().within("a keyfs that died is still mounted there"));
    }
    log.warn("unmounted a keyfs that had died", {{"mountpoint", *target}});
  }
  struct stat attributes {};
  if (::stat(target->c_str(), &attributes) != 0) {
    return fail(Code::kInvalid,
                "cannot mount on " + *target + ": " +
                    (errno == ENOENT ? "there is no such directory" : std::strerror(errno)));
  }
  if (!S_ISDIR(attributes.st_mode)) {
    return fail(Code::kInvalid, "cannot mount on " + *target + ": it is not a directory");
  }
  if (!is_empty(*target)) {
    log.warn("the mount hides files that lie in its directory", {{"mountpoint", *target}});
  }
  return target;
}

}  // namespace keyfs
