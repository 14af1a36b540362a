// What this process knows of the records on a shelf, and for how long it may go by that.
//
// A record that was confirmed within `fresh_for` is not asked for again. After that the shelf is
// asked, strongly consistent; where it does not answer, what is known goes on counting until
// `serve_stale_for` after it was confirmed, and the shelf is asked again behind it, now and then.
// Nothing goes back: what contradicts an earlier record of the name is refused.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to loop and shelf, which outlive it;
// it outlives its tasks. Blocking: never. Errors: the shelf's; kCorrupt for a record that went back.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "base/task.h"
#include "kms/signing/wrapped_custody.h"

namespace keyfs {

using ShelvedPtr = std::shared_ptr<const Shelved>;

class ShelfMemory {
 public:
  ShelfMemory(Loop& loop, SigningShelf& shelf, Duration fresh_for, Duration serve_stale_for);

  struct Known {
    ShelvedPtr record;      // null: there is none
    TimePoint confirmed{};  // when it was, strongly consistent
    bool out = false;       // the shelf does not answer
  };
  // What a signature may go by.
  Task<Result<Known>> known(std::string name, TimePoint deadline);
  // What is on the shelf now; null: nothing.
  Task<Result<ShelvedPtr>> look(std::string name, TimePoint deadline);
  // As SigningShelf::save(); null: a conflict.
  Task<Result<ShelvedPtr>> save(Shelved shelved, TimePoint deadline);

 private:
  struct Seen {
    ShelvedPtr record;
    TimePoint confirmed{};
    bool out = false;
    TimePoint ask_again{};  // while it is out
    bool refused = false;   // the shelf's last answer must not be gone by, so neither must this
  };
  using Flights = SingleFlight<Result<bool>>;

  Task<Result<bool>> check(std::string name);
  Task<Result<bool>> check_cold(std::string name, Error outage);
  Task<Result<bool>> start_check(const std::string& name);
  void accept(const std::string& name, ShelvedPtr record, TimePoint asked_at);
  std::optional<std::string> goes_back(const std::string& name,
                                       const std::optional<Shelved>& now) const;
  bool may_be_stale(const Seen& seen) const;

  Loop& loop_;
  SigningShelf& shelf_;
  const Duration fresh_for_;
  const Duration serve_stale_for_;
  std::map<std::string, Seen> seen_;
  Flights checks_;
  TaskGroup<Result<bool>> behind_;  // checks that nobody waits for
};

}  // namespace keyfs
