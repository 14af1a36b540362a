// Waits until the runs that took some tickets have ended, and shows how they go on.
//
// Thread-safety: one thread, which runs the loop inside. Ownership: refers to its parts. Blocking:
// until all runs have ended; it ends earlier where no host runs rotations any more, and where the
// board does not answer for RotationWatch::kSilence. Errors: in the answer.
#pragma once

#include <string>
#include <vector>

#include "fs/cli/output.h"
#include "fs/cli/rotation.h"
#include "fs/rotation/report.h"

namespace keyfs {

struct TicketEnd {
  enum class End {
    kTold,     // its run is complete
    kInPart,   // its run has ended, and is not complete
    kOverdue,  // it can't be done now, and will be done later
    kRefused,  // it can't be done
    kUnknown,  // nobody runs rotations, or nothing was heard any more
  };
  End end = End::kUnknown;
  std::string run;  // that has taken it last; empty: none
  std::string why;  // of kOverdue, kRefused, kUnknown
};

struct RunsWaitedFor {
  std::vector<TicketEnd> ends;  // of each of the tickets
  std::vector<RunReport> runs;  // that have ended, and that the caller may see
};

RunsWaitedFor wait_for_runs(const std::vector<std::string>& tokens, const RotationDesk& parts,
                            Output& output);

// "complete", "in part", "overdue", "refused", "unknown".
std::string_view to_string(TicketEnd::End end);

}  // namespace keyfs
