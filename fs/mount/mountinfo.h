// What is mounted where. A path is no identity of a mount: others come to lie over it, folders
// above it are renamed, it is bound to other places. So mounts are told apart by their ids.
//
// Thread-safety: plain functions. Blocking: they ask the kernel only, never a file system, so that
// they work on a mount whose server is dead or hangs. (The folders above a path are walked.)
// Errors: nothing (nullopt) when it can't be told; errno says why.
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
  dev_t device = 0;        // st_dev of what is in it: two mounts of one file system share it
  std::string root;        // what of the file system is mounted: "/", or a file that is bound
  std::string mountpoint;  // as of this process's root
  std::string type;        // "fuse.keyfs"
};
// Lines of /proc/self/mountinfo (proc(5)), in their order.
std::vector<MountEntry> parse_mountinfo(std::string_view text);

// nullopt when /proc is not there or hidden: then nobody can tell.
std::optional<std::vector<MountEntry>> read_mounts();

struct MountId {
  uint64_t id = 0;
  dev_t device = 0;
  bool operator==(const MountId&) const = default;
};
struct PlaceOfMount {
  MountId mount;
  bool is_root = false;  // the path is where the mount begins: something is mounted on it
};
// What one sees at `path` now: the uppermost mount. The last component is not followed.
std::optional<PlaceOfMount> mount_at(const std::string& path);

// The entry of a mount, or null.
const MountEntry* find_mount(const std::vector<MountEntry>& mounts, uint64_t id);

}  // namespace keyfs
