#include "kms/region_slot.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

bool worth_moving_ahead(Duration mine, Duration of_the_one_before) {
  return of_the_one_before > mine + mine / 2 + 2ms;
}

bool worth_keeping_ahead(Duration mine, Duration of_the_one_configured_before) {
  return of_the_one_configured_before > mine + mine / 5 + 1ms;
}

// `first` stands before `second` now.
bool should_swap(const RegionSlot& first, const RegionSlot& second) {
  const auto one = first.health.expected();
  const auto two = second.health.expected();
  if (!one || !two) return second.index < first.index;
  if (first.index < second.index) return worth_moving_ahead(*two, *one);
  return !worth_keeping_ahead(*one, *two);
}

}  // namespace

void RegionSlot::succeeded(RegionCall call, Duration latency) {
  const bool was_closed = closed();
  health.succeeded(latency);
  if (observer == nullptr) return;
  observer->on_call(name(), call, nullptr, latency);
  tell_breaker(was_closed, nullptr);
}

void RegionSlot::failed(RegionCall call, const Error& error, Duration latency) {
  const bool was_closed = closed();
  // A caller who came with little time left says nothing about the region.
  const bool too_early = error.code == Code::kTimeout && latency < health.hedge_delay();
  if (!too_early) health.failed(error);
  if (observer == nullptr) return;
  observer->on_call(name(), call, &error, latency);
  tell_breaker(was_closed, &error);
}

void RegionSlot::gave_up(RegionCall call, Duration waited) {
  const bool was_closed = closed();
  if (waited >= health.hedge_delay()) health.gave_up(waited);
  if (observer == nullptr) return;
  observer->on_given_up(name(), call, waited);
  if (closed() == was_closed) return;
  const Error reason(Code::kUnavailable, "did not answer within " + to_text(waited));
  tell_breaker(was_closed, &reason);
}

void RegionSlot::tell_breaker(bool was_closed, const Error* reason) {
  if (closed() == was_closed) return;
  observer->on_breaker(name(), health.state(), health.open_for(), reason);
}

std::optional<Error> RegionSlot::ask_for_token() {
  if (health.take_token()) return std::nullopt;
  const auto& last = health.last_error();
  const bool about_the_region =
      last && last->code != Code::kCorrupt && last->code != Code::kInvalid;
  Error error(about_the_region ? last->code : Code::kUnavailable,
              "circuit open: retry budget used up");
  if (last) error.message += " (" + last->message + ")";
  return error;
}

void reorder(std::vector<RegionSlot*>& order) {
  for (size_t pass = 0; pass < order.size(); ++pass) {
    for (size_t i = 1; i < order.size(); ++i) {
      if (should_swap(*order[i - 1], *order[i])) std::swap(order[i - 1], order[i]);
    }
  }
}

std::vector<RegionSlot*> healthy_first(const std::vector<RegionSlot*>& order) {
  std::vector<RegionSlot*> sorted = order;
  const auto rank = [](const RegionSlot* slot) { return static_cast<int>(slot->health.state()); };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
  return sorted;
}

Duration pause_before_round(const RegionsOptions& options, const RandomFraction& random,
                            unsigned round) {
  const double doubled = std::exp2(static_cast<int>(std::clamp(round, 2u, 20u)) - 2);
  const double share = 0.5 + 0.5 * random();
  return Duration(
      static_cast<Duration::rep>(static_cast<double>(options.pause.count()) * doubled * share));
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
  for (const auto& failure : failures) {
    const Code code = failure.error.code;
    if (code == Code::kInvalid) return Code::kInvalid;
    denied += code == Code::kDenied;
    unauthenticated += code == Code::kUnauthenticated;
    throttled += code == Code::kThrottled;
    timed_out += code == Code::kTimeout;
  }
  const auto is_corrupt = [](const auto& failure) { return failure.error.code == Code::kCorrupt; };
  if (std::any_of(failures.begin(), failures.end(), is_corrupt)) return Code::kCorrupt;
  if (deadline_passed) return Code::kTimeout;
  if (failures.empty()) return Code::kUnavailable;
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
