// The directory that is mounted on: is it fit, and is a dead mount in the way?
//
// Thread-safety: none needed; at start and at the end. Blocking: yes (file system calls,
// fusermount3). Errors: kInvalid for a mount point that can't be used (the message says what is
// wrong with it), kUnavailable when the system refuses.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/result.h"

namespace keyfs {

struct MountEntry {
  std::string mountpoint;
  std::string type;  // "fuse.keyfs"
};
// Lines of /proc/self/mountinfo (proc(5)), in their order: the last of a path is on top.
std::vector<MountEntry> parse_mountinfo(std::string_view text);

// The absolute path to mount on. A keyfs that died there ("Transport endpoint is not connected")
// is unmounted first, and that is logged. Anything else that is mounted there is refused.
Result<std::string> prepare_mountpoint(const std::string& path, Log& log);

// Detaches what is on top of `path`, also while it is in use.
Result<void> lazy_unmount(const std::string& path);

}  // namespace keyfs
