// What is known of one target (a region, a replica, a member of a cluster): how fast it answers,
// and whether it is worth asking.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Errors: none come back; it is told of
// the errors of others. Ownership: refers to the clock, which must outlive it.
//
// Latency: an EWMA is what an answer is expected to take; p50 and p95 come from the last `samples`
// answers. A call that was given up because another target was faster says only that this one is
// slower than that: until its next answer it is expected to take so long at least, and wants to be
// probed soon. p95 is left alone: a target that hangs must not drag out its own hedge delay. That
// delay is p95 and a quarter, since at p95 itself one call in twenty to a healthy target would cost
// a second one.
//
// Breaker: closed (ask it), open (ask it only when nothing else is left), half-open (its time is
// over: the next answer decides). What opens it, for how long:
//   kUnavailable, kTimeout, given up   `failures_to_open` in a row; `transient_open`, doubled each
//                                      time up to `transient_open_most`
//   kThrottled                         at once; `throttled_open`, doubled up to
//                                      `throttled_open_most`
//   kUnauthenticated                   at once; `credentials_open`
//   kDenied                            at once; `denied_open`
//   kCorrupt, kInvalid, kRevoked       never: they are about the blob or about us
// Every time gets jitter of +-25 %, so that many hosts do not come back at the same moment. Any
// success closes it.
//
// Tokens: a call that is more than the work needs (a hedge, another round, and with
// `open_costs_token` a call to one that is not closed) costs one; they come back at a fixed rate,
// and all of them once an open target answers again: those who waited for that must not be turned
// away for what was asked meanwhile. That bounds what keyfs adds to the load of one in trouble.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/retry.h"

namespace keyfs {

struct HealthOptions {
  size_t samples = 64;
  size_t samples_for_p95 = 5;                               // with fewer, p95 is unknown
  Duration hedge_unknown = std::chrono::milliseconds(200);  // the hedge delay while p95 is unknown
  Duration hedge_least = std::chrono::milliseconds(20);
  Duration hedge_most = std::chrono::seconds(2);

  unsigned failures_to_open = 3;
  Duration transient_open = std::chrono::seconds(1);
  Duration transient_open_most = std::chrono::seconds(30);
  Duration throttled_open = std::chrono::milliseconds(250);
  Duration throttled_open_most = std::chrono::seconds(10);
  Duration credentials_open = std::chrono::seconds(15);
  Duration denied_open = std::chrono::minutes(5);

  double tokens = 20;
  double tokens_per_second = 10;
  bool open_costs_token = true;

  // A closed target that nobody asked for so long is tried beside a call of others, so that one
  // that became faster is found again. Zero: never.
  Duration explore_after = std::chrono::minutes(5);
  // The same for one whose last call was given up.
  Duration doubt_after = std::chrono::seconds(1);
};

enum class BreakerState { kClosed, kHalfOpen, kOpen };
std::string_view to_string(BreakerState state);  // "closed", "half-open", "open"

class Health {
 public:
  Health(const Clock& clock, RandomFraction random, HealthOptions options);

  void succeeded(Duration latency);
  void failed(const Error& error);
  // It had not answered after `waited` when another's answer was taken.
  void gave_up(Duration waited);

  BreakerState state() const;
  // For how long it will still be left alone; zero unless open.
  Duration open_for() const;
  // Half-open, in doubt, or not asked for long; and no probe is out.
  bool wants_probe() const;
  void probe_begins() { probing_ = true; }
  void probe_ends() { probing_ = false; }

  // What a call is expected to take; nullopt while it was never asked.
  std::optional<Duration> expected() const;
  std::optional<Duration> p50() const { return percentile(0.50); }
  std::optional<Duration> p95() const;
  // After how long another target is asked as well.
  Duration hedge_delay() const;

  // A call costs a token even when nobody else is asked for the same.
  bool costs_token() const { return options_.open_costs_token && state() != BreakerState::kClosed; }
  // False: none is left now.
  bool take_token();

  const std::optional<Error>& last_error() const { return last_error_; }
  std::optional<WallTime> last_error_at() const { return last_error_at_; }
  uint64_t calls() const { return calls_; }
  uint64_t failures() const { return failures_; }

 private:
  std::optional<Duration> percentile(double share) const;
  void fail_once_more();
  void open(Duration first, Duration most);

  const Clock& clock_;
  const RandomFraction random_;
  const HealthOptions options_;

  std::optional<Duration> ewma_;
  std::optional<Duration> doubt_;  // it took longer than that, and has not answered since
  std::vector<Duration> ring_;
  size_t ring_next_ = 0;

  unsigned failed_in_a_row_ = 0;
  unsigned opened_in_a_row_ = 0;
  bool opened_ = false;
  TimePoint open_until_{};
  Duration open_first_{};  // of the kind of failure that opened it
  bool probing_ = false;
  TimePoint asked_at_;

  double tokens_;
  TimePoint tokens_at_;

  std::optional<Error> last_error_;
  std::optional<WallTime> last_error_at_;
  uint64_t calls_ = 0;
  uint64_t failures_ = 0;
};

}  // namespace keyfs
