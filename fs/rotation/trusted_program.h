// A program that nobody else can replace: keyfs runs it as its own user, often root.
//
// Thread-safety: a plain function. Blocking: on the disks that the path leads through. Errors:
// kDenied, with what to do about it, if others may write the program, or a directory or link on the
// way to it; kInvalid if it is no program; os_error()'s.
#pragma once

#include <string>

#include "base/result.h"

namespace keyfs {

// `path` is absolute. Follows it step by step, as the kernel does: every directory on the way, and
// the file, must be root's or ours, and writable by nobody else (but for directories that are
// sticky, like /tmp, if what is used in them is root's or ours).
Result<void> check_trusted_program(const std::string& path);

}  // namespace keyfs
