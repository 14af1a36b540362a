// What is mounted where. A path does not identify a mount: others are mounted over it, directories
// above it are renamed, it is bind-mounted elsewhere. So mounts are distinguished by their ids.
//
// Thread-safety: plain functions. Blocking: they query only the kernel, never a file system, so
// that they work on a mount whose server is dead or hangs. (The directories above a path are
// walked.) Errors: nullopt if unknown; errno says why.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace keyfs {

inline constexpr std::string_view kOurFileSystem = "fuse.keyfs";

struct MountEntry {
  uint64_t id = 0;
  uint64_t parent = 0;
  dev_t device = 0;        // st_dev of its files: two mounts of one file system share it
  std::string root;        // the mounted part of the file system: "/", or a bind-mounted file
  std::string mountpoint;  // as of this process's root
  std::string type;        // "fuse.keyfs"
};
// Lines of /proc/self/mountinfo (proc(5)), in their order.
std::vector<MountEntry> parse_mountinfo(std::string_view text);

// nullopt if /proc is missing or hidden.
std::optional<std::vector<MountEntry>> read_mounts();

struct MountId {
  uint64_t id = 0;
  dev_t device = 0;
  bool operator==(const MountId&) const = default;
};
struct PlaceOfMount {
  MountId mount;
  bool is_root = false;  // the path is the root of the mount
};
// The mount that is visible at `path` now: the topmost one. Does not follow the last component.
std::optional<PlaceOfMount> mount_at(const std::string& path);

// The entry of a mount, or null.
const MountEntry* find_mount(const std::vector<MountEntry>& mounts, uint64_t id);

}  // namespace keyfs
