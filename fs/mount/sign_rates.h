// How many signatures each user may have made by a [sign ...] section's `rate`.
//
// Thread-safety: any thread. Ownership: refers to sections, which the PolicyHolder keeps. Blocking:
// one short lock. Errors: none. Cost: an entry for each user and section that does not have its full
// burst; kMost at most, beyond which nobody new is admitted.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "fs/policy/sign_policy.h"

namespace keyfs {

class SignRates {
 public:
  static constexpr size_t kMost = 16'384;

  // What was counted came to nothing, by no fault of the user's.
  void give_back(uid_t user, const SignSection& section) {
    if (!section.rate) return;
    std::lock_guard lock(mutex_);
    const auto entry = next_.find({user, &section});
    if (entry != next_.end()) entry->second -= section.rate->period / section.rate->count;
  }

  // Whether the user may have one more now, which is counted.
  bool admit(uid_t user, const SignSection& section, TimePoint now) {
    if (!section.rate) return true;
    const Duration period = section.rate->period;
    const Duration each = period / section.rate->count;
    std::lock_guard lock(mutex_);
    if (next_.size() >= forget_at_) {
      std::erase_if(next_, [now](const auto& entry) { return entry.second <= now; });
      forget_at_ = std::min(kMost, std::max<size_t>(64, 2 * next_.size()));
    }
    auto entry = next_.find({user, &section});
    if (entry == next_.end()) {
      if (next_.size() >= kMost) return false;
      entry = next_.emplace(std::pair(user, &section), now).first;
    }
    const TimePoint from = std::max(entry->second, now);
    if (from + each > now + period) return false;
    entry->second = from + each;
    return true;
  }

 private:
  std::mutex mutex_;
  // When all so far would be made at an even rate.
  std::map<std::pair<uid_t, const SignSection*>, TimePoint> next_;
  size_t forget_at_ = 64;
};

}  // namespace keyfs
