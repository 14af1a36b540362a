// What a blocked thread's pending signals mean for it.
//
// The kernel tells a FUSE daemon once that a waiting request was interrupted, whatever the signal,
// and the caller keeps sleeping until the request is answered. Answering EINTR to every signal
// breaks programs: open() fails despite SA_RESTART, and Go's runtime signals its threads all the
// time (golang/go#40846). So the pending signals are read from /proc/<tid>/status (proc(5): SigPnd,
// ShdPnd, SigBlk, SigIgn, SigCgt are masks, bit n-1 is signal n).
//
// Thread-safety: stateless. Blocking: only reads /proc, which does not wait.
// Errors: none; what cannot be read is kUnknown (hidepid, or a caller in a PID namespace that the
// daemon does not see).
#pragma once

#include <sys/types.h>

#include <string_view>

namespace keyfs {

enum class Signalled {
  kNo,       // nothing pending, or only signals that can be delivered later
  kStop,     // it must die, or was asked to: a fatal signal, or INT, TERM, HUP, QUIT with a handler
  kHandler,  // a handler is waiting to run
  kUnknown,
};

// `status` is the text of /proc/<tid>/status.
Signalled signals_in(std::string_view status);

// The same for a thread that waits for us; opens and reads one file of /proc.
Signalled pending_signals(pid_t tid);

}  // namespace keyfs
