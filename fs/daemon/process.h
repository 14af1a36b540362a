// How a process of ours begins: whatever its parent left it (closed or open descriptors, blocked or
// ignored signals, umask, limits), it starts from the same state. And what it may leave behind: no
// core dumps, nobody looks into its memory, files for its user only.
//
// No locale is set, so that messages and numbers are the same whatever LANG says; the environment
// is handed on to the programs that are run for credentials.
//
// Thread-safety: call before the first thread and before the first secret. Blocking: never.
#pragma once

#include "base/result.h"

namespace keyfs {

// For every command, first of all:
//  - whichever of descriptors 0, 1, 2 is closed is opened on /dev/null, so that no file, pipe or
//    socket of ours is ever taken for it;
//  - no signal is blocked; all have their default but those that the user may have ignored on
//    purpose (HUP: nohup; INT, QUIT: a shell's job in the background), and SIGPIPE and SIGXFSZ,
//    which are ignored: they are errors of write(2) then;
//  - umask 077; no core dumps (RLIMIT_CORE 0, and PR_SET_DUMPABLE 0, which also keeps a piped
//    core_pattern and ptrace by the same user away): most commands see plaintext or masters.
Result<void> set_up_process();

// For what goes on running: the daemon, in the foreground too. After set_up_process():
//  - SIGHUP, which means reload, is no longer ignored;
//  - every descriptor from 3 on is closed, but `keep` (-1: none): a lock that is held by it, or a
//    pipe that somebody reads to its end, is no business of ours. LISTEN_FDS is forgotten with
//    them. Call it before anything of ours is open;
//  - the working directory is "/", so that no file system is kept busy;
//  - RLIMIT_NOFILE is raised to what keyfs can need, as far as this user may.
Result<void> set_up_daemon(int keep);

// The end of a process whose streams are flushed. What main() would wait for or take away under a
// thread that hangs is not touched: with such a thread the process ends at once.
[[noreturn]] void end_process(int code);

// Raises RLIMIT_MEMLOCK as far as this user may. kInvalid with the remedy when even then it is too
// little to work with.
Result<void> check_lockable_memory();

}  // namespace keyfs
