// A region as the set of regions sees it: a target whose calls the observer hears of. Internal to
// kms/regions.
//
// Thread-safety: none; on the loop's thread. Ownership: owns its region; loop and observer outlive
// it. Blocking: never. Errors: none; it is told those of the region.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/target.h"
#include "kms/region.h"
#include "kms/regions.h"

namespace keyfs {

struct RegionSlot : Target {
  RegionSlot(Loop& loop, size_t calls_at_once, std::unique_ptr<Region> the_region, size_t place,
             Health the_health, RegionObserver* the_observer)
      : Target(the_region->name(), place, std::move(the_health), turns_for(loop, calls_at_once)),
        region(std::move(the_region)),
        observer(the_observer) {}

  // As Target's, and the observer is told.
  void succeeded(RegionCall call, Duration latency);
  void failed(RegionCall call, const Error& error, Duration latency);
  void gave_up(RegionCall call, Duration waited);

  const std::unique_ptr<Region> region;
  RegionObserver* const observer;  // may be null
  std::optional<size_t> probe;     // its number among the probes

 private:
  void tell_breaker(bool was_closed, const Error* reason);
};

// Before the second and later rounds: at least half of each pause, the rest by chance.
Backoff pauses_of(const RegionsOptions& options);

// Adds a failure, or replaces the one of the same region.
void note_failure(std::vector<RegionFailure>& failures, const std::string& region, Error error);

// The code for all of them, from the table in kms/regions.h.
Code combined_code(const std::vector<RegionFailure>& failures, bool deadline_passed);

// "a: why; b: why"
std::string reasons(const std::vector<RegionFailure>& failures);

}  // namespace keyfs
