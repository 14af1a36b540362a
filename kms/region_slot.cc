#include "kms/region_slot.h"

#include <algorithm>
#include <utility>

namespace keyfs {

void RegionSlot::succeeded(RegionCall call, Duration latency) {
  const bool was_closed = closed();
  Target::succeeded(latency);
  if (observer == nullptr) return;
  observer->on_call(name, call, nullptr, latency);
  tell_breaker(was_closed, nullptr);
}

void RegionSlot::failed(RegionCall call, const Error& error, Duration latency) {
  const bool was_closed = closed();
  Target::failed(error, latency);
  if (observer == nullptr) return;
  observer->on_call(name, call, &error, latency);
  tell_breaker(was_closed, &error);
}

void RegionSlot::gave_up(RegionCall call, Duration waited) {
  const bool was_closed = closed();
  Target::gave_up(waited);
  if (observer == nullptr) return;
  observer->on_given_up(name, call, waited);
  if (closed() == was_closed) return;
  const Error reason(Code::kUnavailable, "did not answer within " + to_text(waited));
  tell_breaker(was_closed, &reason);
}

void RegionSlot::tell_breaker(bool was_closed, const Error* reason) {
  if (closed() == was_closed) return;
  observer->on_breaker(name, health.state(), health.open_for(), reason);
}

Backoff pauses_of(const RegionsOptions& options) {
  return Backoff{options.pause, 32 * options.pause, 0.5};
}

void note_failure(std::vector<RegionFailure>& failures, const std::string& region, Error error) {
  const auto same = std::find_if(failures.begin(), failures.end(),
                                 [&](const auto& failure) { return failure.region == region; });
  if (same != failures.end()) {
    same->error = std::move(error);
  } else {
    failures.push_back({region, std::move(error)});
  }
}

Code combined_code(const std::vector<RegionFailure>& failures, bool deadline_passed) {
  size_t denied = 0;
  size_t unauthenticated = 0;
  size_t throttled = 0;
  size_t timed_out = 0;
  size_t invalid = 0;
  for (const auto& failure : failures) {
    const Code code = failure.error.code;
    invalid += code == Code::kInvalid;
    denied += code == Code::kDenied;
    unauthenticated += code == Code::kUnauthenticated;
    throttled += code == Code::kThrottled;
    timed_out += code == Code::kTimeout;
  }
  const auto is_corrupt = [](const auto& failure) { return failure.error.code == Code::kCorrupt; };
  if (std::any_of(failures.begin(), failures.end(), is_corrupt)) return Code::kCorrupt;
  if (deadline_passed) return Code::kTimeout;
  if (failures.empty()) return Code::kUnavailable;
  if (invalid == failures.size()) return Code::kInvalid;
  const size_t others = failures.size() - denied - unauthenticated;
  if (others == 0) return denied > 0 ? Code::kDenied : Code::kUnauthenticated;
  if (throttled == others) return Code::kThrottled;
  if (timed_out == others) return Code::kTimeout;
  return Code::kUnavailable;
}

std::string reasons(const std::vector<RegionFailure>& failures) {
  std::string text;
  for (const auto& failure : failures) {
    if (!text.empty()) text += "; ";
    text += failure.region + ": " + failure.error.message;
  }
  return text;
}

}  // namespace keyfs
