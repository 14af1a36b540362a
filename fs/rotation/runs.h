// Runs as people look at them: `keyfs rotation list, show, done`, reports. (retry and stop are
// tickets.)
//
// Thread-safety: plain coroutines, on the loop's thread. Ownership: board and loop outlive the
// task. Blocking: never. Errors: the board's; kCorrupt for what is no document of a run.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/sheet.h"
#include "fs/rotation/tickets.h"
#include "fs/rotation/waves.h"
#include "store/board.h"

namespace keyfs {

struct RunView {
  RunDocument run;
  Sheets sheets;
  RunCounts counts() const { return count(sheets); }
};

struct RotationView {
  std::string holder;  // of the lock; empty: nobody yet
  std::string run;     // that is going on; empty: none
  std::vector<Ticket> waiting;
  std::vector<Ticket> overdue;
};

Task<Result<RotationView>> look_at_rotation(Board& board, TimePoint deadline);
struct RunsSeen {
  std::vector<RunDocument> runs;     // the newest last
  std::vector<std::string> damaged;  // names of those that cannot be read, for people
};
Task<Result<RunsSeen>> list_runs(Board& board, TimePoint deadline);
// nullopt: there is no such run (any more).
Task<Result<std::optional<RunView>>> look_at_run(Board& board, std::string run, TimePoint deadline);

// Marks by hand what failed, is unknown or was not tried: a consumer (of all hosts, or HOST/NAME of
// one), or a host that was not heard from. How many were marked; 0: nothing of that name is to be
// done again.
Task<Result<size_t>> mark_done(Board& board, Loop& loop, std::string run, std::string consumer,
                               std::string by, TimePoint deadline);

}  // namespace keyfs
