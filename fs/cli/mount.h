// keyfs mount: how the daemon is built, starts and exits.
//
// Thread-safety: call it from main(), before any thread exists: it forks. Blocking: in the parent
// until the mount is usable; in the daemon (and with -f) until it is unmounted. Errors: reported on
// standard error and in the exit code; then nothing stays mounted or running.
#pragma once

#include "fs/cli/command_line.h"
#include "fs/cli/output.h"
#include "fs/daemon/exit_code.h"

namespace keyfs {

ExitCode run_mount(MountArguments arguments, CommonArguments common, Output& output);

}  // namespace keyfs
