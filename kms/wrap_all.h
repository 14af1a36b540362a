// Wraps one data key in several regions at once. Internal to kms/regions.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: refers to the slots, the
// loop and the key; owns the running calls, which end with it and then count as abandoned. Errors:
// one for each region that does not have the key, in the result.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/loop.h"
#include "base/race.h"
#include "base/retry.h"
#include "kms/region_slot.h"
#include "kms/regions.h"

namespace keyfs {

class WrapAll {
 public:
  // Failed calls are retried while fewer than `needed` regions have the key. With `wait_for_all` a
  // slow region has until the deadline; without it, the region is left out once enough others are
  // done and its grace period is over.
  WrapAll(Loop& loop, const RegionsOptions& options, const RandomFraction& random,
          const SecretBytes& key, EncryptionContext context, TimePoint deadline, size_t needed,
          bool wait_for_all);
  WrapAll(const WrapAll&) = delete;
  WrapAll& operator=(const WrapAll&) = delete;
  ~WrapAll();

  void start(RegionSlot& slot);
  // Runs until all are done or left out.
  Task<void> run();

  WrappedMore take_result() { return std::move(result_); }
  bool deadline_passed() const { return deadline_passed_; }

 private:
  struct Call {
    RegionSlot* slot;
    TimePoint started;             // the first try, once it was sent
    TimePoint begun;               // the last one
    bool asking;                   // a call is running, not pausing
    std::optional<Error> failure;  // of the try before the pause
  };

  Task<Result<WrappedKey>> wrap_in(Call& call);
  bool enough() const { return result_.wrapped.size() >= needed_; }
  TimePoint wait_until() const;
  Duration grace(const Call& call) const;
  void leave_the_pausing_ones();
  void leave_the_late_ones();

  Loop& loop_;
  const RegionsOptions& options_;
  const RandomFraction& random_;
  const SecretBytes& key_;
  const EncryptionContext context_;
  const TimePoint deadline_;
  const size_t needed_;
  const bool wait_for_all_;
  bool deadline_passed_ = false;
  WrappedMore result_;
  std::map<size_t, std::unique_ptr<Call>> running_;
  TaskGroup<Result<WrappedKey>> group_;
};

}  // namespace keyfs
