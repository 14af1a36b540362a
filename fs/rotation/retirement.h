// Retirement: old versions of keys are retired by themselves, `retire_after` the run that made the
// current one current.
//
// Only when that run was whole for the key (fs/rotation/retire_notes.h): the new version was in all
// regions, and every consumer has taken it, is gone, or was marked as done by hand, and every host
// was heard from. So nothing is retired after a failed consumer or a stopped run, until a `retry` or
// a `done` makes it whole. And only if the version is still the current one, of an enabled key, and
// wrapped in all regions now.
//
// It is work of the holder of the lock. What is to be done it reads from the notes, and from the
// runs that are still there: a run whose note a crash has prevented is found so. A note is removed
// once its versions are retired, or when another version has become current; a crash before that has
// both looked at again, which finds it done.
//
// Thread-safety: none; all on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: none; what fails is logged, and tried again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "fs/rotation/lock.h"
#include "fs/rotation/retire_notes.h"
#include "fs/rotation/trouble.h"
#include "fs/upkeep/key_versions.h"
#include "store/board.h"
#include "store/store.h"

namespace keyfs {

// Retires versions, as KeyVersions does, and sees to it that other hosts hear of it.
class Retirer {
 public:
  virtual ~Retirer() = default;
  // Those below `below`, if that is the current version; kInvalid otherwise.
  virtual Task<Result<MinChange>> retire(std::string id, uint32_t below) = 0;
};

struct RetirementOptions {
  // retire_after of a key; nullopt: it has none.
  std::function<std::optional<Duration>(const std::string& id)> after;
  std::optional<Duration> shortest;  // of all that the configuration names; nullopt: it names none
  std::vector<std::string> regions;  // in which a version must be wrapped: all
  Duration call = std::chrono::seconds(10);
  // Between two looks at the notes: a twentieth of `shortest` within these.
  Duration look_least = std::chrono::seconds(5);
  Duration look_most = std::chrono::hours(1);
};

class Retirement {
 public:
  Retirement(Loop& loop, Store& store, Board& board, Log& log, const Tenure& tenure,
             Retirer& retirer, RetirementOptions options);

  // For the holder of the lock, beside the runner. Never ends by itself, unless no key has a
  // retire_after.
  Task<bool> work();

 private:
  // What the last run of a key has said.
  struct Candidate {
    RetireNote note;
    std::optional<BoardDocument> document{};  // nullopt: it is only in the run
  };
  enum class Outcome { kDone, kSuperseded, kLater };

  Task<Result<std::optional<WallTime>>> look();
  Task<Result<std::map<std::string, Candidate>>> candidates();
  Task<Result<void>> look_at_runs();
  // `next`: made earlier if it is due at a time that is known.
  Task<Result<void>> take_up(Candidate candidate, std::optional<WallTime>& next);
  Task<Result<Outcome>> retire(const Candidate& candidate, Duration after,
                               std::optional<WallTime>& next);
  Task<Result<void>> remove(BoardDocument document);
  Result<void> may_act() const;
  TimePoint until() const { return loop_.now() + options_.call; }

  Loop& loop_;
  Store& store_;
  Board& board_;
  Log& log_;
  const Tenure& tenure_;
  Retirer& retirer_;
  const RetirementOptions options_;

  Trouble not_looked_;
  TimePoint next_runs_{};                    // when the runs are looked at again
  std::vector<RetireWord> words_;            // of the runs, in their order
  std::map<std::string, std::string> done_;  // by id: the run that is done with
};

}  // namespace keyfs
