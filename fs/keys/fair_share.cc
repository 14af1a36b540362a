#include "fs/keys/fair_share.h"

#include <algorithm>

namespace keyfs {
namespace {

Duration seconds(double count) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(count));
}

}  // namespace

size_t WaitingPlaces::taken_by(ForUser caller) const {
  if (!caller) return 0;
  const auto mine = by_user_.find(*caller);
  return mine == by_user_.end() ? 0 : mine->second;
}

WaitingPlaces::Verdict WaitingPlaces::judge(ForUser caller) const {
  if (taken_ >= most_) return Verdict::kAllTaken;
  if (caller && taken_by(caller) >= most_ - taken_) return Verdict::kShareTaken;
  return Verdict::kAdmitted;
}

WaitingPlaces::Place::~Place() {
  --places_.taken_;
  if (!caller_) return;
  const auto mine = places_.by_user_.find(*caller_);
  if (--mine->second == 0) places_.by_user_.erase(mine);
}

CreationRate::CreationRate(double per_second, double burst)
    : each_(seconds(1 / per_second)), burst_(seconds(burst / per_second)) {}

std::optional<TimePoint> CreationRate::reserve(ForUser caller, TimePoint now, Duration patience) {
  if (!caller) return now;
  forget_rested(now);
  const auto found = next_.find(*caller);
  const TimePoint begin = found == next_.end() ? now : std::max(found->second, now);
  const TimePoint at = std::max(now, begin + each_ - burst_);
  if (at - now > patience) return std::nullopt;
  next_[*caller] = begin + each_;
  return at;
}

void CreationRate::forget_rested(TimePoint now) {
  if (next_.size() < forget_at_) return;
  std::erase_if(next_, [now](const auto& user) { return user.second <= now; });
  forget_at_ = std::max<size_t>(64, 2 * next_.size());
}

}  // namespace keyfs
