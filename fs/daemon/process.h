// What this process may do and leave behind: no core dumps, nobody looks into its memory, files for
// its user only.
//
// Thread-safety: call before the first thread and before the first secret. Blocking: never.
#pragma once

#include "base/result.h"

namespace keyfs {

// For every command, since most of them see plaintext or masters: no core dumps (RLIMIT_CORE 0, and
// PR_SET_DUMPABLE 0, which also keeps a piped core_pattern and ptrace by the same user away), umask
// 077, SIGPIPE ignored, and whichever of descriptors 0, 1, 2 is closed opened on /dev/null, so that
// no file of ours is ever taken for them.
Result<void> harden_process();

// Raises RLIMIT_MEMLOCK as far as this user may. kInvalid with the remedy when even then it is too
// little to work with.
Result<void> check_lockable_memory();

}  // namespace keyfs
