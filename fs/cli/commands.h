// The commands that look at keys and work on them, one function each. fs/cli/mount.h has the mount.
//
// Thread-safety: one thread. Blocking: yes; each has its own loop and runs it to the end.
// Ownership: none is kept. Errors: told on standard error by `output`, and in the exit code.
#pragma once

#include "fs/cli/command_line.h"
#include "fs/cli/output.h"
#include "fs/daemon/exit_code.h"

namespace keyfs {

ExitCode run_check(const CheckArguments& arguments, const CommonArguments& common, Output& output);
ExitCode run_explain(const ExplainArguments& arguments, const CommonArguments& common,
                     Output& output);
ExitCode run_list(const ListArguments& arguments, const CommonArguments& common, Output& output);
ExitCode run_describe(const DescribeArguments& arguments, const CommonArguments& common,
                      Output& output);
ExitCode run_create(const CreateArguments& arguments, const CommonArguments& common,
                    Output& output);
ExitCode run_set_state(const SetStateArguments& arguments, const CommonArguments& common,
                       Output& output);
ExitCode run_heal(const HealArguments& arguments, const CommonArguments& common, Output& output);
ExitCode run_status(const StatusArguments& arguments, Output& output);
ExitCode run_version(Output& output);

}  // namespace keyfs
