// Asks regions for their own wraps of one data key, all at once, and tells what each wrap is worth.
// Internal to kms/regions.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: refers to the loop and the
// slots. Errors: one for each wrap that is not right, in the result.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "kms/region_slot.h"
#include "kms/regions.h"

namespace keyfs {

struct OwnWrap {
  OwnWrap(RegionSlot& its_region, WrappedKey its_wrap)
      : slot(&its_region), wrap(std::move(its_wrap)) {}

  RegionSlot* slot;
  WrappedKey wrap;
  std::optional<TimePoint> asked_at = {};  // while the call runs
  bool unwrapped = false;                  // the region gave a plaintext, right or wrong
};

Task<ExaminedWraps> examine_wraps(Loop& loop, std::vector<OwnWrap> wraps, EncryptionContext context,
                                  KeyVerifier verify, TimePoint deadline);

}  // namespace keyfs
