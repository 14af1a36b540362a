// The commands on keys, one function each. The mount is in fs/cli/mount.h.
//
// Thread-safety: one thread. Blocking: each runs its own loop to the end. Ownership: keeps nothing.
// Errors: reported on standard error through `output`, and in the exit code.
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
ExitCode run_rotate(const RotateArguments& arguments, const CommonArguments& common,
                    Output& output);
ExitCode run_promote(const PromoteArguments& arguments, const CommonArguments& common,
                     Output& output);
ExitCode run_retire(const RetireArguments& arguments, const CommonArguments& common,
                    Output& output);
ExitCode run_destroy(const DestroyArguments& arguments, const CommonArguments& common,
                     Output& output);
ExitCode run_heal(const HealArguments& arguments, const CommonArguments& common, Output& output);
ExitCode run_rewrap(const RewrapArguments& arguments, const CommonArguments& common,
                    Output& output);
ExitCode run_rotation(const RotationArguments& arguments, const CommonArguments& common,
                      Output& output);
ExitCode run_sign(const SignArguments& arguments, const CommonArguments& common, Output& output);
ExitCode run_status(const StatusArguments& arguments, Output& output);
ExitCode run_version(Output& output);

}  // namespace keyfs
