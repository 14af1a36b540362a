// What there is beside the newest run that can be shown: changes that wait for another run, and
// newer runs whose documents are damaged.
//
// Thread-safety: one thread, which runs the loop inside. Ownership: plain values. Blocking: until
// the board has answered. Errors: kept, to be told beside the run.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fs/cli/output.h"
#include "fs/cli/rotation.h"
#include "fs/daemon/exit_code.h"
#include "fs/rotation/report.h"

namespace keyfs {

class BesideRun {
 public:
  // `newest`: null where there is none.
  BesideRun(const RunReport* newest, const RotationDesk& parts);

  bool nothing() const { return waiting_.empty() && damaged_.empty() && !error_; }
  // "another run was asked for (orders), and begins ...\n"; empty: none was.
  std::string text() const;
  // Adds "waiting", ids of keys, and "damaged", names of runs.
  void add_to(nlohmann::ordered_json& document) const;
  // Tells on standard error what the user has to do something about: kPartial then, otherwise `code`.
  ExitCode tell(ExitCode code, Output& output) const;

 private:
  void find_when(const RotationDesk& parts);

  std::vector<std::string> waiting_;  // that the caller may see
  std::vector<std::string> damaged_;
  std::string when_;            // the next run begins
  bool lock_damaged_ = false;   // so that it does not
  std::optional<Error> error_;  // why not all of this is known
};

}  // namespace keyfs
