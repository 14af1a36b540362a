// A board of which is known whether it answers: for status and metrics.
//
// Thread-safety, blocking, errors: as store/board.h. Ownership: refers to the board and the loop,
// which outlive it and its tasks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "fs/rotation/documents.h"
#include "store/board.h"

namespace keyfs {

// How the board answers this host.
struct BoardHealth {
  enum class State {
    kUnknown,   // it was not asked yet
    kThere,     // it answered when it was last asked
    kSilent,    // it does not answer now: rotation waits, keys are served
    kNotThere,  // no table, or no permission: there is no rotation over several hosts
  } state = State::kUnknown;
  std::optional<WallTime> since;  // of kSilent, kNotThere: the first call that failed
  std::string why;                // of the last that failed
  uint64_t errors = 0;            // calls that failed, ever; and looks at damaged documents
  // Documents without which nothing goes on, which were damaged when this host last looked at them:
  // run/head, run/now, that of the run that goes on. Since when that has been known. Of a run that has
  // ended only the report is lost: fs/rotation/runner_idle.cc names it in the log.
  std::map<std::string, WallTime> damaged{};
};
std::string_view to_string(BoardHealth::State state);  // "unknown", "there", "silent", "not there"

class WatchedBoard final : public Board {
 public:
  WatchedBoard(Loop& loop, Board& board) : loop_(loop), board_(board) {}

  const BoardHealth& health() const { return health_; }

  Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) override;
  Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) override;
  Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                         TimePoint deadline) override;
  Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                   TimePoint deadline) override;
  Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                  TimePoint deadline) override;
  Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                               TimePoint deadline) override;
  bool can_watch() const override { return board_.can_watch(); }
  Task<void> watch(BoardListener& listener) override { return board_.watch(listener); }
  Task<std::vector<CheckItem>> check(TimePoint deadline) override { return board_.check(deadline); }

 private:
  template <class T>
  Task<Result<T>> watched(Task<Result<T>> call);
  void note(const Error* error);
  Task<Result<std::optional<BoardDocument>>> looked(
      std::string name, Task<Result<std::optional<BoardDocument>>> call);
  void learn(const std::string& name, std::string_view text);
  bool is_ended(const std::string& name) const;  // a run's, that does not go on
  void look_for_damage(const std::string& name, const Result<std::optional<BoardDocument>>& there);

  Loop& loop_;
  Board& board_;
  BoardHealth health_;
  std::optional<RunNow> now_;  // as last seen
};

}  // namespace keyfs
