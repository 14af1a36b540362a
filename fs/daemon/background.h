// The two halves of a program that goes into the background: the parent waits until the child
// reports that the service is up, or why it is not.
//
// Thread-safety: fork_to_background() must come before the first thread and before the first secret
// (its memory would be empty in the child); afterwards one thread. Ownership: each half owns its
// end of a pipe. Blocking: only wait_for_child(). Errors: kUnavailable for the system.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"
#include "fs/daemon/exit_code.h"

namespace keyfs {

// In the child: the channel to the parent. It reports once; if it exits before, the parent says so.
class StartReport {
 public:
  StartReport() = default;  // reports to nobody: for the foreground
  explicit StartReport(int fd) : fd_(fd) {}
  StartReport(StartReport&& other) noexcept;
  StartReport& operator=(StartReport&& other) noexcept;
  ~StartReport();

  // Also detaches from the terminal: descriptors 0, 1, 2 become /dev/null.
  // `text` is for the parent.
  Result<void> up(const std::string& text);
  // `message` is printed by the parent, which exits with `code`.
  void failed(ExitCode code, const std::string& message);
  bool in_background() const { return background_; }
  int descriptor() const { return fd_; }  // -1: none

 private:
  friend struct Background;
  int fd_ = -1;
  bool background_ = false;
};

struct StartOutcome {
  ExitCode code = ExitCode::kDone;
  std::string message;  // what went wrong; if it is up, the text that it reported
};

// Either side of the fork.
struct Background {
  std::optional<StartReport> child;  // set in the child
  pid_t pid = 0;                     // in the parent
  int fd = -1;                       // in the parent

  static Result<Background> fork_process();
  // In the parent. Blocks until the child reports or ends; after a failure also until it ends, for a
  // second at most.
  StartOutcome wait_for_child() const;
};

}  // namespace keyfs
