// keyfs rotation, over any runs: the board's, or those of a test.
//
// Thread-safety: one thread, which runs the loop inside. Ownership: refers to its parts. Blocking:
// until the answer is given; while watching, until the run has ended. Errors: told, and in the exit
// code: 1 where nothing could be learned or done, 3 for a run that has ended and is not complete, or
// that nobody runs any more, and for a mark that not all could get that it meant.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "fs/cli/command_line.h"
#include "fs/cli/output.h"
#include "fs/daemon/exit_code.h"
#include "fs/rotation/run_desk.h"

namespace keyfs {

struct RotationDesk {
  Loop& loop;
  RunDesk& runs;
  Duration patience;  // for each question
  std::string by;     // who asks, for the report: "alice (uid 1000) on web-1"
  // So long may nobody be seen to run rotations.
  Duration holder_patience;
  // Of the terminal that standard output is: a run is watched with a progress bar. nullopt: it is
  // none.
  std::optional<size_t> columns;
  // Whether the caller may see and steer a run of these keys. Tells why not, if `verb` is given.
  std::function<bool(const std::vector<std::string>& keys, const char* verb)> permitted;
};

ExitCode rotation(const RotationArguments& arguments, const RotationDesk& parts, Output& output);

// Of the terminal that this descriptor is; nullopt: it is none, or one that can't go back in a line.
std::optional<size_t> terminal_columns(int fd);

}  // namespace keyfs
