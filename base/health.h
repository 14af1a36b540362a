// What is known about one target (a region, a replica, a member of a cluster): how fast it answers,
// and whether it is worth using.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Errors: none. Ownership: refers to
// the clock, which must outlive it.
//
// Latency: an EWMA gives the expected time of an answer; p50 and p95 come from the last `samples`
// answers. A call that was abandoned because another target was faster says only that this one is
// slower than that: until its next answer it is expected to take at least that long, and should be
// probed soon. p95 is not changed: a hanging target must not extend its own hedge delay. That delay
// is 1.25 times p95, since at p95 itself one in twenty calls to a healthy target would cost a
// second one.
//
// Breaker: closed (use it), open (use it only if nothing else is left), half-open (its time is
// over: the next answer decides). What opens it, and for how long:
//   kUnavailable, kTimeout, given up   `failures_to_open` in a row; `transient_open`, doubled each
//                                      time up to `transient_open_most`
//   kThrottled                         at once; `throttled_open`, doubled up to
//                                      `throttled_open_most`
//   kUnauthenticated                   at once; `credentials_open`
//   kDenied                            at once; `denied_open`
//   kCorrupt, kInvalid, kRevoked       never: not the target's fault
// All times have a jitter of +-25 %, so that hosts do not return at the same moment. Any
// success closes it.
//
// Tokens: a call beyond what the work needs (a hedge, another round, and with `open_costs_token` a
// call to a target that is not closed) costs one. They are refilled at a fixed rate, and completely
// once an open target answers again, so that callers that waited for it are not refused because of
// earlier attempts. This bounds the load that keyfs adds to a target in trouble.
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

  // A closed target that was not used for this long is probed beside another call, so that a target
  // that became faster is noticed. Zero: never.
  Duration explore_after = std::chrono::minutes(5);
  // The same for a target whose last call was abandoned.
  Duration doubt_after = std::chrono::seconds(1);
};

enum class BreakerState { kClosed, kHalfOpen, kOpen };
std::string_view to_string(BreakerState state);  // "closed", "half-open", "open"

class Health {
 public:
  Health(const Clock& clock, RandomFraction random, HealthOptions options);

  // A call was answered, `latency` after it was sent. Closes the breaker.
  void succeeded(Duration latency);
  // A call failed; the error's code decides what that means for the breaker.
  void failed(const Error& error);
  // It had not answered after `waited`, when another's answer was used.
  void gave_up(Duration waited);

  BreakerState state() const;
  // How long the breaker stays open; zero unless open.
  Duration open_for() const;
  // True if it is half-open, in doubt, or unused for long, and no probe is running.
  bool wants_probe() const;
  void probe_begins() { probing_ = true; }
  void probe_ends() { probing_ = false; }

  // How long a call is expected to take; nullopt before the first answer.
  std::optional<Duration> expected() const;
  // Of the last `samples` answers; nullopt before the first one, for p95 before samples_for_p95.
  std::optional<Duration> p50() const { return percentile(0.50); }
  std::optional<Duration> p95() const;
  // After how long another target is asked too.
  Duration hedge_delay() const;

  // A call costs a token even if no other target is asked for the same.
  bool costs_token() const { return options_.open_costs_token && state() != BreakerState::kClosed; }
  // Takes a token; false: none is left.
  bool take_token();

  const std::optional<Error>& last_error() const { return last_error_; }
  std::optional<WallTime> last_error_at() const { return last_error_at_; }
  // Since the start; those given up count as calls.
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
  std::optional<Duration> doubt_;  // it took longer than this, and has not answered since
  std::vector<Duration> ring_;
  size_t ring_next_ = 0;

  unsigned failed_in_a_row_ = 0;
  unsigned opened_in_a_row_ = 0;
  bool opened_ = false;
  TimePoint open_until_{};
  Duration open_first_{};  // for the kind of failure that opened it
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
