// Which keyfs file systems are mounted here: /proc/self/mountinfo (proc(5)).
//
// Thread-safety: plain functions. Blocking: reads /proc; never asks a mounted file system itself, which may be dead.
// Errors: kUnavailable when /proc can't be read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyfs {

inline constexpr std::string_view kFsType = "fuse.keyfs";

struct MountEntry {
  std::string mount_point;
  std::string fs_type;
  std::string source;
  std::string options;  // of the mount and of the file system, comma separated
};

// All mounts, in the order in which they were made; the last of those on one mount point is the one on top.
Result<std::vector<MountEntry>> read_mounts();
// The text of a mountinfo file; lines that are none are left out.
std::vector<MountEntry> parse_mountinfo(std::string_view text);
// What is on top at that path, if the path is a mount point at all.
std::optional<MountEntry> mount_on(const std::vector<MountEntry>& mounts, std::string_view path);

}  // namespace keyfs
