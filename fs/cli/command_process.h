// A command's work in a process of its own, so that the one that the user has started can always
// end: a thread that waits for a dead disk in the kernel (state D) keeps its whole process, whatever
// it calls and whoever kills it, and with it the shell, cron or systemd that waits for the process.
//
// The child does the work, tells its exit code, and ends. The parent touches no disk; it exits with
// what the child has told even if the child cannot end, and dies of what the child died of. It
// passes on SIGINT, SIGTERM, SIGHUP and SIGQUIT, and then does not wait for long either. Both are in
// one process group, so a terminal's signals and job control reach both. The child does not outlive
// the parent, except in state D.
//
// Thread-safety: before the first thread and the first secret; afterwards a Leave may be called
// once, on any thread of the child. Ownership: the child is the parent's; one that can't end is left
// to init. Blocking: run_in_child(), as long as the work takes. Errors: without a process to be had
// the work is done in this one.
#pragma once

#include <chrono>
#include <functional>

namespace keyfs {

// Lets go of descriptors 0, 1 and 2, so that whoever reads our output sees its end, and tells the
// parent the exit code. The streams have been flushed; the process ends next.
using Leave = std::function<void(int code)>;

// For a process that may not be able to end: whoever reads its output would wait for it.
void let_go_of_standard_streams();

// How long the child may take to end once it has told its code, or was sent a signal. Leak checkers
// run at a program's end, and take their time.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::chrono::milliseconds kEndPatience = std::chrono::seconds(60);
#else
constexpr std::chrono::milliseconds kEndPatience = std::chrono::seconds(1);
#endif

// `work` calls its argument at its end and ends the process; if it returns, the process exits with 1.
// Returns, in the parent, the child's exit code; does not return if a signal ended the child.
int run_in_child(const std::function<void(const Leave&)>& work,
                 std::chrono::milliseconds patience = kEndPatience);

}  // namespace keyfs
