// Runs, as the command line looks at them and steers them. Those on the board: fs/rotation/board_desk.h;
// tests have runs of their own.
//
// Thread-safety: none; on the loop's thread. Blocking: never; each call is a task that lasts until
// `deadline` at most, and dropping it cancels the call, except that a change that was sent may still
// take effect. Ownership: outlives its tasks. Errors: those of the board (store/board.h); an unknown
// run is a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/rotation/report.h"

namespace keyfs {

// What came of a request to change a run.
struct RunChange {
  enum class Outcome {
    kDone,
    kNothing,   // there was nothing to do: nothing has failed, nobody of that name is left, it has
                // ended
    kUnderWay,  // not done: the run has not ended yet
    kUnknown,   // not done: no consumer or host of that name is in the run
    kHeard,     // not done: that host was heard from
  };
  Outcome outcome = Outcome::kDone;
  // The run to look at: the one that was named, or the one that does again what failed in it. Of
  // what follows from the change it is the report that tells: one that waits for a runner is
  // RunState::kWaiting from the moment on that the change is done.
  std::string run;
  size_t consumers = 0;  // that will be told again, or were marked
  // Of a mark, by consumer and host: which were marked, and which are meant as well and could not be:
  // they wait for their turn, are being told, or have failed since.
  std::vector<ConsumerReport> marked{};
  std::vector<ConsumerReport> not_marked{};
};

// What has become of a ticket.
struct TicketFate {
  enum class State {
    kWaiting,  // for the next run
    kOverdue,  // it can't be done now: no run is for it until it can
    kInRun,    // `run` has taken it, and may have ended
    kGone,     // somebody has removed it, or it was done longer ago than runs are kept
  };
  State state = State::kWaiting;
  std::string run;                                      // the last one that has taken it
  RotatedKey::State key = RotatedKey::State::kWaiting;  // in that run
  std::string since;                                    // of kOverdue
  std::string why;                                      // of kOverdue, and of a refused key
};

// Who runs rotations: another value after a few seconds, while somebody does.
struct RunHolder {
  std::string host;  // empty: nobody, ever
  uint64_t epoch = 0;
  uint64_t beat = 0;
  bool operator==(const RunHolder&) const = default;
};

// What a ticket that waits is waiting for, if somebody runs rotations.
struct RunOutlook {
  // Another run has to end first.
  bool under_way = false;
  // The next run begins once no further ticket has come for so long, or ten times that after the
  // first; nullopt: not known.
  std::optional<Duration> settle;
};

class RunDesk {
 public:
  virtual ~RunDesk() = default;

  struct Page {
    std::vector<RunSummary> runs;  // the newest first
    std::vector<std::string>
        damaged{};                    // that are on the board and cannot be read; the first page's
    std::optional<std::string> next;  // pass as `after`; nullopt at the end
  };
  virtual Task<Result<Page>> list(std::string after, size_t limit, TimePoint deadline) = 0;
  // nullopt: there is no such run. `run` empty: the newest.
  virtual Task<Result<std::optional<RunReport>>> report(std::string run, TimePoint deadline) = 0;

  virtual Task<Result<RunHolder>> holder(TimePoint deadline) = 0;
  virtual Task<Result<RunOutlook>> outlook(TimePoint deadline) = 0;
  // The ids of the keys whose tickets wait for the next run, each once, sorted.
  virtual Task<Result<std::vector<std::string>>> waiting(TimePoint deadline) = 0;
  // Of each of these tickets, which were put before.
  virtual Task<Result<std::vector<TicketFate>>> fates(std::vector<std::string> tokens,
                                                      TimePoint deadline) = 0;

  // Has what failed, was not tried or is unknown done again, by whoever holds the lock next, and
  // only that. nullopt, here and below: there is no such run. `by`: who asks, for the report.
  virtual Task<Result<std::optional<RunChange>>> retry(std::string run, std::string by,
                                                       TimePoint deadline) = 0;
  // Marks by hand what failed, is unknown or was not tried: a consumer, on `host`, or (empty) on every
  // one. `consumer` empty: that `host` was not heard from.
  virtual Task<Result<std::optional<RunChange>>> mark_done(std::string run, std::string consumer,
                                                           std::string host, std::string by,
                                                           TimePoint deadline) = 0;
  // Begins no further hook; those under way end by themselves.
  virtual Task<Result<std::optional<RunChange>>> stop(std::string run, std::string by,
                                                      TimePoint deadline) = 0;
};

}  // namespace keyfs
