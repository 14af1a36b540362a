// keyfs mount: what the daemon is built of, and how it starts and ends.
//
// Thread-safety: call it from main(), before any thread is there: it forks. Blocking: in the parent
// until the mount can be used; in the daemon (and with -f) until it is unmounted. Errors: told on
// standard error, and in the exit code; nothing stays mounted or running then.
#pragma once

#include "fs/cli/command_line.h"
#include "fs/cli/output.h"
#include "fs/daemon/exit_code.h"

namespace keyfs {

ExitCode run_mount(MountArguments arguments, CommonArguments common, Output& output);

}  // namespace keyfs
