// What one user may have of what all share: places to wait in, and creations.
//
// Thread-safety: none; on the loop's thread. Ownership: none. Blocking: never. Errors: none.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <optional>

#include "base/clock.h"
#include "base/fair_turns.h"

namespace keyfs {

// Places to wait in. A user gets another one as long as it has no more than are left for all
// others: half of them when it is alone, a quarter beside such a one, and so on. keyfs itself may
// have all.
class WaitingPlaces {
 public:
  explicit WaitingPlaces(size_t most) : most_(most) {}

  enum class Verdict { kAdmitted, kAllTaken, kShareTaken };
  Verdict judge(ForUser caller) const;

  size_t taken() const { return taken_; }
  size_t taken_by(ForUser caller) const;

  // Takes a place, and gives it back.
  class Place {
   public:
    Place(WaitingPlaces& places, ForUser caller) : places_(places), caller_(caller) {
      ++places_.taken_;
      if (caller_) ++places_.by_user_[*caller_];
    }
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    WaitingPlaces& places_;
    const ForUser caller_;
  };

 private:
  const size_t most_;
  size_t taken_ = 0;
  std::map<uid_t, size_t> by_user_;  // none is 0
};

// So many creations a second, of each user, and so many at once after a quiet while.
class CreationRate {
 public:
  CreationRate(double per_second, double burst);

  // When `caller` may make one more, which counts from now on; nullopt, and nothing is counted:
  // not within `patience`.
  std::optional<TimePoint> reserve(ForUser caller, TimePoint now, Duration patience);

  // Users whose rate is not back at its best.
  size_t users() const { return next_.size(); }

 private:
  void forget_rested(TimePoint now);

  const Duration each_;
  const Duration burst_;
  std::map<uid_t, TimePoint> next_;  // when all that was made would have been, evenly spread
  size_t forget_at_ = 64;
};

}  // namespace keyfs
