#include "base/health.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace keyfs {
namespace {

// The weight of a new latency in the average: after about ten answers the old one is forgotten.
constexpr double kNewShare = 0.2;

}  // namespace

std::string_view to_string(BreakerState state) {
  switch (state) {
    case BreakerState::kClosed:
      return "closed";
    case BreakerState::kHalfOpen:
      return "half-open";
    case BreakerState::kOpen:
      return "open";
  }
  return "unknown";
}

Health::Health(const Clock& clock, RandomFraction random, HealthOptions options)
    : clock_(clock),
      random_(std::move(random)),
      options_(options),
      asked_at_(clock.now()),
      tokens_(options.tokens),
      tokens_at_(clock.now()) {
  ring_.reserve(options_.samples);
}

void Health::succeeded(Duration latency) {
  ++calls_;
  asked_at_ = clock_.now();
  ewma_ = ewma_ ? *ewma_ + scaled(latency - *ewma_, kNewShare) : latency;
  doubt_.reset();
  if (ring_.size() < options_.samples) {
    ring_.push_back(latency);
  } else if (!ring_.empty()) {
    ring_[ring_next_] = latency;
    ring_next_ = (ring_next_ + 1) % ring_.size();
  }
  if (opened_) tokens_ = options_.tokens;
  failed_in_a_row_ = 0;
  opened_in_a_row_ = 0;
  opened_ = false;
}

void Health::failed(const Error& error) {
  ++calls_;
  ++failures_;
  asked_at_ = clock_.now();
  last_error_ = error;
  last_error_at_ = clock_.wall();
  switch (error.code) {
    case Code::kUnavailable:
    case Code::kTimeout:
      fail_once_more();
      break;
    case Code::kThrottled:
      open(options_.throttled_open, options_.throttled_open_most);
      break;
    case Code::kUnauthenticated:
      open(options_.credentials_open, options_.credentials_open);
      break;
    case Code::kDenied:
      open(options_.denied_open, options_.denied_open);
      break;
    case Code::kCorrupt:
    case Code::kInvalid:
    case Code::kRevoked:
      break;
  }
}

void Health::gave_up(Duration waited) {
  ++calls_;
  asked_at_ = clock_.now();
  doubt_ = std::max(waited, doubt_.value_or(waited));
  fail_once_more();
}

std::optional<Duration> Health::expected() const {
  return doubt_ ? std::max(*doubt_, ewma_.value_or(*doubt_)) : ewma_;
}

void Health::fail_once_more() {
  // In half-open one failure is enough: the probe has decided.
  if (++failed_in_a_row_ < options_.failures_to_open && !opened_) return;
  open(options_.transient_open, options_.transient_open_most);
}

void Health::open(Duration first, Duration most) {
  const TimePoint now = clock_.now();
  // Calls that were running when it opened, or had no other region left, fail too: they are no
  // news, and must not double its time.
  const bool open_already = opened_ && now < open_until_;
  if (!open_already) ++opened_in_a_row_;
  const Duration time = Backoff{first, most}.longest(opened_in_a_row_ - 1);
  const TimePoint until = now + scaled(time, 0.75 + 0.5 * random_());
  if (!open_already || first > open_first_) {
    open_until_ = std::max(until, open_already ? open_until_ : until);
    open_first_ = first;
  }
  opened_ = true;
}

BreakerState Health::state() const {
  if (!opened_) return BreakerState::kClosed;
  return clock_.now() < open_until_ ? BreakerState::kOpen : BreakerState::kHalfOpen;
}

Duration Health::open_for() const {
  return state() == BreakerState::kOpen ? Duration(open_until_ - clock_.now()) : Duration::zero();
}

bool Health::wants_probe() const {
  if (probing_) return false;
  switch (state()) {
    case BreakerState::kHalfOpen:
      return true;
    case BreakerState::kClosed:
      if (doubt_ && clock_.now() - asked_at_ >= options_.doubt_after) return true;
      return options_.explore_after > Duration::zero() &&
             clock_.now() - asked_at_ >= options_.explore_after;
    case BreakerState::kOpen:
      return false;
  }
  return false;
}

std::optional<Duration> Health::percentile(double share) const {
  if (ring_.empty()) return std::nullopt;
  std::vector<Duration> sorted = ring_;
  const auto place =
      static_cast<size_t>(std::lround(share * static_cast<double>(sorted.size() - 1)));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(place),
                   sorted.end());
  return sorted[place];
}

std::optional<Duration> Health::p95() const {
  return ring_.size() < options_.samples_for_p95 ? std::nullopt : percentile(0.95);
}

Duration Health::hedge_delay() const {
  const auto known = p95();
  return known ? std::clamp(*known + *known / 4, options_.hedge_least, options_.hedge_most)
               : options_.hedge_unknown;
}

bool Health::take_token() {
  const TimePoint now = clock_.now();
  const double seconds = std::chrono::duration<double>(now - tokens_at_).count();
  tokens_ = std::min(options_.tokens, tokens_ + seconds * options_.tokens_per_second);
  tokens_at_ = now;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace keyfs
