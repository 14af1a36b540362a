// The program: takes the command line apart and runs the command. Owns nothing that outlives it.
#include <fcntl.h>
#include <unistd.h>

#include <iostream>
#include <streambuf>
#include <system_error>
#include <variant>

#include "base/thread.h"
#include "fs/cli/command_line.h"
#include "fs/cli/command_process.h"
#include "fs/cli/commands.h"
#include "fs/cli/mount.h"
#include "fs/daemon/process.h"

namespace {

using namespace keyfs;

struct Run {
  const CommonArguments& common;
  Output& output;

  ExitCode operator()(const HelpArguments& help) const {
    output.out() << help.text;
    return ExitCode::kDone;
  }
  ExitCode operator()(const VersionArguments&) const { return run_version(output); }
  ExitCode operator()(const MountArguments& arguments) const {
    return run_mount(arguments, common, output);
  }
  ExitCode operator()(const CheckArguments& arguments) const {
    return run_check(arguments, common, output);
  }
  ExitCode operator()(const ExplainArguments& arguments) const {
    return run_explain(arguments, common, output);
  }
  ExitCode operator()(const ListArguments& arguments) const {
    return run_list(arguments, common, output);
  }
  ExitCode operator()(const DescribeArguments& arguments) const {
    return run_describe(arguments, common, output);
  }
  ExitCode operator()(const CreateArguments& arguments) const {
    return run_create(arguments, common, output);
  }
  ExitCode operator()(const SetStateArguments& arguments) const {
    return run_set_state(arguments, common, output);
  }
  ExitCode operator()(const RotateArguments& arguments) const {
    return run_rotate(arguments, common, output);
  }
  ExitCode operator()(const PromoteArguments& arguments) const {
    return run_promote(arguments, common, output);
  }
  ExitCode operator()(const RetireArguments& arguments) const {
    return run_retire(arguments, common, output);
  }
  ExitCode operator()(const DestroyArguments& arguments) const {
    return run_destroy(arguments, common, output);
  }
  ExitCode operator()(const HealArguments& arguments) const {
    return run_heal(arguments, common, output);
  }
  ExitCode operator()(const RewrapArguments& arguments) const {
    return run_rewrap(arguments, common, output);
  }
  ExitCode operator()(const RotationArguments& arguments) const {
    return run_rotation(arguments, common, output);
  }
  ExitCode operator()(const SignArguments& arguments) const {
    return run_sign(arguments, common, output);
  }
  ExitCode operator()(const StatusArguments& arguments) const {
    return run_status(arguments, output);
  }
};

// Takes nothing; what is written to it fails.
class NoStream final : public std::streambuf {};

ExitCode run(const CommandLine& line, Output& output) {
  try {
    return std::visit(Run{line.common, output}, line.command);
  } catch (const std::system_error& error) {
    output.error(error_of(error).message);
    return ExitCode::kFailed;
  }
}

// Those that do may end up with a thread that can't be ended. `mount` has a process of its own for
// what it starts, or is what somebody supervises.
bool touches_disks(const CommandLine& line) {
  return !std::holds_alternative<HelpArguments>(line.command) &&
         !std::holds_alternative<VersionArguments>(line.command) &&
         !std::holds_alternative<MountArguments>(line.command);
}

int run_and_flush(const CommandLine& line, Output& output) {
  ExitCode code = run(line, output);
  if (!std::cout.flush() && code == ExitCode::kDone) {
    output.error("could not write the answer to standard output");
    code = ExitCode::kFailed;
  }
  std::cerr.flush();
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  // set_up_process() opens /dev/null in its place, where an answer would be lost untold.
  NoStream nowhere;
  if (::fcntl(STDOUT_FILENO, F_GETFD) < 0) std::cout.rdbuf(&nowhere);
  const auto line = parse_command_line(argc, argv);
  Output output(std::cout, std::cerr, line && line->common.json);
  if (auto ok = set_up_process(); !ok) {
    output.error(ok.error().message);
    return static_cast<int>(ExitCode::kFailed);
  }
  if (!line) {
    output.error(line.error().message);
    return static_cast<int>(ExitCode::kUsage);
  }
  if (!touches_disks(*line)) end_process(run_and_flush(*line, output));
  end_process(run_in_child([&line](const Leave& leave) {
    Output childs(std::cout, std::cerr, line->common.json, leave);
    const int code = run_and_flush(*line, childs);
    leave(code);
    end_process(code);
  }));
}
