// The program's exit codes, which scripts rely on (keyfs(1), EXIT STATUS). They change only with a
// new major version. Plain values.
#pragma once

#include "base/result.h"

namespace keyfs {

enum class ExitCode {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,    // the command line or the configuration is wrong; nothing was tried
  kPartial = 3,  // partly done, or it works but is degraded
};

// kInvalid is a mistake in the input.
inline ExitCode exit_code_for(const Error& error) {
  return error.code == Code::kInvalid ? ExitCode::kUsage : ExitCode::kFailed;
}

// The exit code of a command on several keys.
class Tally {
 public:
  void done() { ++done_; }
  void partial() { ++partial_; }  // degraded
  void failed() { ++failed_; }
  bool any_done() const { return done_ + partial_ != 0; }

  ExitCode code() const {
    if (failed_ != 0) return any_done() ? ExitCode::kPartial : ExitCode::kFailed;
    return partial_ != 0 ? ExitCode::kPartial : ExitCode::kDone;
  }

 private:
  unsigned done_ = 0;
  unsigned partial_ = 0;
  unsigned failed_ = 0;
};

}  // namespace keyfs
