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
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "fs/mount/apart.h"
#include "fs/mount/mountinfo.h"

namespace keyfs {
namespace {

// Does not resolve the last component: it may be a dead mount, where realpath() fails.
Result<std::string> absolute(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.ends_with('/')) trimmed.pop_back();
  const size_t slash = trimmed.rfind('/');
  std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, slash);
  if (parent.empty()) parent = std::string(1, '/');
  const std::string last = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  // AT_STATX_DONT_SYNC: the server of the mounted file system may be stopped.
  struct statx link {};
  constexpr int kFlags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
  const bool plain = !last.empty() && last != "." && last != ".." &&
                     (::statx(AT_FDCWD, trimmed.c_str(), kFlags, STATX_TYPE, &link) != 0 ||
                      !S_ISLNK(link.stx_mode));
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
  if (directory == nullptr) return true;  // unknown, and only for a warning
  while (const dirent* entry = ::readdir(directory.get())) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) return false;
  }
  return true;
}

enum class Pulse { kAlive, kDead, kSilent };

// In a separate process, since a stopped keyfs does not answer.
Pulse pulse_of(const std::string& path) {
  const auto answer = work_apart(
      [&path]() -> std::string {
        // Not stat(2): the kernel may still hold the attributes of a dead mount's root.
        struct statfs figures {};
        return ::statfs(path.c_str(), &figures) != 0 && errno == ENOTCONN ? "dead" : "";
      },
      kMountPatience);
  if (!answer) return Pulse::kSilent;
  return *answer == "dead" ? Pulse::kDead : Pulse::kAlive;
}

// The type of what is mounted at `path`, if known; "": nothing.
std::string type_at(const std::string& path) {
  const auto place = mount_at(path);
  if (!place || !place->is_root) return "";
  const auto mounts = read_mounts();
  const MountEntry* entry = mounts ? find_mount(*mounts, place->mount.id) : nullptr;
  return entry != nullptr ? entry->type : "(unknown)";
}

}  // namespace

Result<std::string> resolve_mountpoint(const std::string& path) { return absolute(path); }

Result<void> lazy_unmount(const std::string& path) {
  if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
  const int refused = errno;
  std::string program = "fusermount3";
  std::array<std::string, 4> words = {program, "-uqz", "--", path};
  std::array<char*, 5> arguments = {words[0].data(), words[1].data(), words[2].data(),
                                    words[3].data(), nullptr};
  pid_t child = 0;
  int status = 0;
  // Our signals are blocked, and the program might not unblock them.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const int started =
      ::posix_spawnp(&child, "fusermount3", nullptr, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (started == 0) {
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  }
  return fail(Code::kUnavailable, "cannot unmount " + path + ": " + std::strerror(refused));
}

Result<Unmounting> unmount_own(const MountId& own, const std::string& path) {
  std::string where = path;
  if (const auto mounts = read_mounts()) {
    const MountEntry* entry = find_mount(*mounts, own.id);
    if (entry == nullptr || entry->device != own.device) return Unmounting::kGone;
    where = entry->mountpoint;
  }
  const auto place = mount_at(where);
  if (!place) {
    return fail(Code::kUnavailable, "cannot examine " + where + ": " + std::strerror(errno));
  }
  if (place->mount != own) return Unmounting::kCovered;
  if (auto unmounted = lazy_unmount(where); !unmounted) return fail(unmounted.error());
  return Unmounting::kDone;
}

Result<std::string> prepare_mountpoint(const std::string& path, Log& log) {
  auto target = absolute(path);
  if (!target) return target;
  constexpr int kMostStacked = 16;
  for (int i = 0; i < kMostStacked; ++i) {
    const std::string type = type_at(*target);
    if (type.empty()) break;
    if (type != kOurFileSystem) {
      return fail(Code::kInvalid, "cannot mount on " + *target + ": a file system of type " + type +
                                      " is mounted there");
    }
    if (const Pulse pulse = pulse_of(*target); pulse != Pulse::kDead) {
      return fail(Code::kInvalid, "cannot mount on " + *target +
                                      ": a keyfs is already mounted there, and " +
                                      (pulse == Pulse::kAlive ? "is alive" : "does not answer"));
    }
    if (auto unmounted = lazy_unmount(*target); !unmounted) {
      return fail(unmounted.error().within("a dead keyfs is still mounted there"));
    }
    log.warn("unmounted a dead keyfs", {{"mountpoint", *target}});
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
    log.warn("the mount hides files in its directory", {{"mountpoint", *target}});
  }
  return target;
}

}  // namespace keyfs
