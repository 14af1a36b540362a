// Tests the wraps of one version before a key depends on them: each is unwrapped by its own region,
// and the check value compared.
//
// What was found is bound to the wrap that was tested. So after a change by others only what they
// changed is asked again, and a wrap that was never tested does not count.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to the regions. Blocking: never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "kms/regions.h"
#include "store/record.h"

namespace keyfs {

class WrapTests {
 public:
  explicit WrapTests(Regions& regions) : regions_(regions) {}

  // Tests the wraps of `record`'s version that were not tested yet, or that could not be. Errors:
  // per region, below.
  Task<void> run(const Record& record, uint32_t number, TimePoint deadline);

  // Of the last run.
  const std::vector<std::string>& good() const { return good_; }
  // Wraps that are not what was wrapped, made by what is their region's master as far as is known.
  const std::vector<RegionFailure>& wrong() const { return wrong_; }
  // Wraps whose region could not be asked, or has another master now.
  const std::vector<RegionFailure>& untested() const { return untested_; }
  bool enough() const { return good_.size() >= regions_.create_min_regions(); }
  // Configured regions without a good wrap, and why. `known`: why regions have none at all.
  std::vector<RegionFailure> missing(const Record& record, uint32_t number,
                                     const std::vector<RegionFailure>& known) const;

 private:
  struct Outcome {
    std::string blob;
    ExaminedWrap found;
  };
  Regions& regions_;
  std::map<std::string, Outcome> tested_;  // by region
  std::vector<std::string> good_;
  std::vector<RegionFailure> wrong_, untested_;
};

}  // namespace keyfs
