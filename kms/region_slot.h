// A region as the set of regions sees it: with its health, and told to the observer. Internal to
// kms/regions.
//
// Thread-safety: none; on the loop's thread. Blocking: never.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fair_turns.h"
#include "kms/region.h"
#include "kms/region_health.h"
#include "kms/regions.h"

namespace keyfs {

struct RegionSlot {
  RegionSlot(Loop& loop, size_t calls_at_once, std::unique_ptr<Region> the_region, size_t place,
             RegionHealth the_health, RegionObserver* the_observer)
      : region(std::move(the_region)),
        index(place),
        health(std::move(the_health)),
        observer(the_observer),
        calls(loop, calls_at_once, FairTurns::Shares::kNone) {}

  const std::string& name() const { return region->name(); }
  bool closed() const { return health.state() == BreakerState::kClosed; }

  void succeeded(RegionCall call, Duration latency);
  void failed(RegionCall call, const Error& error, Duration latency);
  // The call was dropped without an answer after `waited`. It counts against the region only when
  // it had the time that its answers usually take.
  void gave_up(RegionCall call, Duration waited);

  // Whether a call may go out that only does so when the region has a token for it.
  // nullopt: yes. Else the reason why the region is left alone.
  std::optional<Error> ask_for_token();

  std::unique_ptr<Region> region;
  size_t index;  // in the configuration
  RegionHealth health;
  RegionObserver* observer;     // may be null
  FairTurns calls;              // each call has one: its time counts from then on
  std::optional<size_t> probe;  // its number among the probes

 private:
  void tell_breaker(bool was_closed, const Error* reason);
};

// Brings the order up to date: by expected latency. One is moved past another that is configured
// before it only when it is faster by a good deal, and moved back when it no longer is by a little,
// so that the order does not flap between two that are alike.
void reorder(std::vector<RegionSlot*>& order);

// Those of `order` that are closed, then half-open, then open.
std::vector<RegionSlot*> healthy_first(const std::vector<RegionSlot*>& order);

// Before the second and later rounds: at least half of the pause, the rest by chance, so that not
// all callers come back at once.
Duration pause_before_round(const RegionsOptions& options, const RandomFraction& random,
                            unsigned round);

// Replaces the failure of the same region, or adds it.
void note_failure(std::vector<RegionFailure>& failures, const std::string& region, Error error);

// The code for all of them by the table in kms/regions.h.
Code combined_code(const std::vector<RegionFailure>& failures, bool deadline_passed);

// "a: why; b: why"
std::string reasons(const std::vector<RegionFailure>& failures);

}  // namespace keyfs
