// Kills a program with all that it has started: also what left its process group, or its session.
//
// What belongs to it is what /proc shows as its descendants, and whatever is in a session or process
// group of one of them. All of them are stopped first and looked for again until no look finds any more, so
// that none can start another one between the look and its end; each is held by a pidfd, so that
// whoever has its number by then gets no signal.
//
// Out of reach is what had cut itself off before: in a session of its own, and no descendant any
// more because the process between them has ended, as services do. For them keyfs would have to be
// their subreaper (prctl(2)). It is not: all that a hook starts and means to leave behind, such as a
// service, would become a child of keyfs, which would have to reap it without knowing it, and would
// not be told from what is to be killed.
//
// Thread-safety: a plain function. Blocking: it reads all of /proc twice or three times, and waits a
// tenth of a second at most for what the kernel does not stop. Errors: none; what we may not kill
// goes on.
#pragma once

#include <sys/types.h>

namespace keyfs {

// `leader`: of a session, our child, not yet reaped: so nobody else has its number, nor that of its
// session.
void kill_with_descendants(pid_t leader);

}  // namespace keyfs
