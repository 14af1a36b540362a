// One user's share of what all users share: places for waiting opens, and creations.
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

// Places for waiting opens. A user gets another one as long as it has no more than are left for all
// others: half of them if it is alone, a quarter beside one such user, and so on. keyfs itself may
// have all.
class WaitingPlaces {
 public:
  explicit WaitingPlaces(size_t most) : most_(most) {}

  enum class Verdict { kAdmitted, kAllTaken, kShareTaken };
  // Whether `caller` may have one more now. Takes nothing.
  Verdict judge(ForUser caller) const;

  size_t taken() const { return taken_; }
  size_t taken_by(ForUser caller) const;

  // Takes a place, and returns it on destruction.
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

// Limits each user's creations per second, with a burst after a quiet period.
class CreationRate {
 public:
  CreationRate(double per_second, double burst);

  // When `caller` may create one more, which is counted immediately; nullopt, without counting: not
  // within `patience`.
  std::optional<TimePoint> reserve(ForUser caller, TimePoint now, Duration patience);

  // Users who do not have their full burst.
  size_t users() const { return next_.size(); }

 private:
  void forget_rested(TimePoint now);

  const Duration each_;
  const Duration burst_;
  std::map<uid_t, TimePoint> next_;  // when all creations so far would be done at an even rate
  size_t forget_at_ = 64;
};

}  // namespace keyfs
