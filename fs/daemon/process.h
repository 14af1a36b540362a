// Sets up a process: whatever its parent left it (closed or open descriptors, blocked or ignored
// signals, umask, limits), it starts from the same state. Also protects it: no core dumps, no
// access to its memory, files for its user only.
//
// No locale is set, so that messages and numbers are the same whatever LANG says; the environment
// is passed on to programs that are run for credentials.
//
// Thread-safety: call before the first thread and before the first secret. Blocking: never. Errors:
// kUnavailable if the system refuses, and those named below.
#pragma once

#include "base/result.h"

namespace keyfs {

// For every command, before anything else:
//  - closed descriptors 0, 1, 2 are opened on /dev/null, so that no file, pipe or socket of ours is
//    mistaken for them;
//  - no signal is blocked; all have their default action except those that the user may have
//    ignored on purpose (HUP: nohup; INT, QUIT: a shell's background job), and SIGPIPE and SIGXFSZ,
//    which are ignored and so become errors of write(2);
//  - umask 077; no core dumps (RLIMIT_CORE 0, and PR_SET_DUMPABLE 0, which also stops a piped
//    core_pattern and ptrace by the same user): most commands see plaintext or masters.
Result<void> set_up_process();

// For the daemon, in the foreground too. After set_up_process():
//  - SIGHUP, which means reload, is no longer ignored;
//  - every descriptor from 3 on is closed, except `keep` (-1: none), so that we do not hold others'
//    locks or pipes. LISTEN_FDS is removed with them. Call it before opening anything;
//  - the working directory is "/", so that no file system is kept busy;
//  - RLIMIT_NOFILE is raised to what keyfs may need, as far as this user may.
Result<void> set_up_daemon(int keep);

// Exits a process whose streams have been flushed. Skips destructors that would wait for a hanging
// thread, or destroy what it uses: the process exits immediately.
[[noreturn]] void end_process(int code);

// Raises RLIMIT_MEMLOCK as far as this user may. kInvalid, with the remedy, if it is still too
// little.
Result<void> check_lockable_memory();

}  // namespace keyfs
