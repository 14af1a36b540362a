// Sends the messages about runs, beside the runner's work: whoever does not answer delays no run.
//
// A message about an end is noted in the run's document as "sending" by the runner, and here as
// sent or failed, and why. A holder that dies in between leaves it so: it is not sent again.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: none; what was not sent is logged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "base/wake.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/lock.h"
#include "fs/rotation/runs.h"
#include "store/board.h"

namespace keyfs {

// Tells people. At most once for each: what was begun when a host died is not told again.
class RunNotices {
 public:
  virtual ~RunNotices() = default;
  virtual Task<Result<void>> ended(RunView run) = 0;
  virtual Task<Result<void>> taken_over(RunView run) = 0;
  virtual Task<Result<void>> stopped(RunView run) = 0;
};

class Announcer {
 public:
  // `notices`: null if nobody is to be told.
  Announcer(Loop& loop, Board& board, Log& log, const Tenure& tenure, RunNotices* notices);

  bool tells() const { return notices_ != nullptr; }
  // Each is sent in its turn. Of the messages that wait, the oldest gives way where there are too
  // many.
  void ended(RunView run);
  void taken_over(RunView run);
  void stopped(RunView run);

  // Never ends. Dropped with the lock; what waits then is not sent.
  Task<bool> work();

 private:
  static constexpr size_t kMost = 20;
  using Tell = Task<Result<void>> (RunNotices::*)(RunView);
  struct Message {
    Tell tell;
    RunView run;
  };

  void add(Tell tell, RunView run);
  Task<void> note_end(std::string run, uint32_t attempt, Result<void> told);

  Loop& loop_;
  Board& board_;
  Log& log_;
  const Tenure& tenure_;
  RunNotices* const notices_;
  Wake wake_;
  std::deque<Message> waiting_;
};

}  // namespace keyfs
