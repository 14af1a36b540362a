// Checks the directory to mount on, and removes a dead mount there.
//
// Thread-safety: none needed; at start and exit. Blocking: all of it (file system calls,
// fusermount3). Errors: kUnavailable if the system refuses, and those named below.
#pragma once

#include <chrono>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "fs/mount/mountinfo.h"

namespace keyfs {

// How long to wait for another keyfs before it counts as not answering.
inline constexpr std::chrono::seconds kMountPatience{3};

// The absolute path that `path` leads to. What is mounted there is not asked. kInvalid if there is
// no such path.
Result<std::string> resolve_mountpoint(const std::string& path);

// The absolute path to mount on. A keyfs that died there ("Transport endpoint is not connected")
// is unmounted first, and that is logged. kInvalid for a path that can't be mounted on (the message
// says what is wrong), any other visible mount there included; mounts hidden below a mount of a
// parent directory are not examined.
Result<std::string> prepare_mountpoint(const std::string& path, Log& log);

// Detaches the topmost mount on `path`, even while it is in use.
Result<void> lazy_unmount(const std::string& path);

enum class Unmounting {
  kDone,
  kGone,     // it is no longer mounted anywhere
  kCovered,  // something is mounted over it: nothing was touched
};
// Detaches the mount `own` wherever it is now, and nothing else. `path` is where it was mounted; it
// is used if /proc is no help.
Result<Unmounting> unmount_own(const MountId& own, const std::string& path);

}  // namespace keyfs
