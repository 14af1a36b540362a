// The directory that is mounted on: is it fit, and is a dead mount in the way?
//
// Thread-safety: none needed; at start and at the end. Blocking: yes (file system calls,
// fusermount3). Errors: kInvalid for a mount point that can't be used (the message says what is
// wrong with it), kUnavailable when the system refuses.
#pragma once

#include <chrono>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "fs/mount/mountinfo.h"

namespace keyfs {

// How long another keyfs is waited for before it counts as not answering.
inline constexpr std::chrono::seconds kMountPatience{3};

// The absolute path that `path` leads to. What is mounted there is not asked.
Result<std::string> resolve_mountpoint(const std::string& path);

// The absolute path to mount on. A keyfs that died there ("Transport endpoint is not connected")
// is unmounted first, and that is logged. Anything else that is to be seen there is refused; what
// lies hidden beneath a mount of a folder above is not looked at.
Result<std::string> prepare_mountpoint(const std::string& path, Log& log);

// Detaches what is on top of `path`, also while it is in use.
Result<void> lazy_unmount(const std::string& path);

enum class Unmounting {
  kDone,
  kGone,     // it is mounted nowhere any more
  kCovered,  // something is mounted over it: nothing was touched
};
// Detaches the mount `own` wherever it is now, and nothing else. `path` is where it was mounted; it
// is believed where /proc can't tell.
Result<Unmounting> unmount_own(const MountId& own, const std::string& path);

}  // namespace keyfs
