// Follows a run until it has ended: on a terminal by a bar in one line, otherwise by a line for each
// consumer that is over; with --json in silence.
//
// Thread-safety: one thread, which runs the loop inside. Ownership: refers to its parts. Blocking:
// until the run has ended. Errors: of run(): those of RunDesk, once the store has not answered
// for kSilence; kInvalid for a run that is not there, or not any more.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "fs/cli/output.h"
#include "fs/cli/rotation.h"
#include "fs/rotation/report.h"

namespace keyfs {

class RotationWatch {
 public:
  static constexpr Duration kSilence = std::chrono::minutes(1);

  RotationWatch(const RotationDesk& parts, Output& output) : parts_(parts), output_(output) {}

  // Returns the report of the run once it has ended. `report`: how it was when it was last seen.
  Result<RunReport> run(RunReport report);

 private:
  void show(const RunReport& report);
  void show_line(std::string line);
  void clear();

  const RotationDesk& parts_;
  Output& output_;
  std::set<std::pair<std::string, std::string>> told_;  // consumer and host
  std::string stage_;                                   // told last
  bool bar_ = false;                                    // there is a bar in the line
};

// "[=====>              ] 16/65, 1 failed: app-17 on web-3", in `columns` at most.
std::string progress_bar(const RunReport& report, size_t columns);

}  // namespace keyfs
