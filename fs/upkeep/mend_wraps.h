// Verifies every wrap of a record and replaces those that are broken.
//
// For each version, every region that is configured here unwraps its own wrap, and the check value
// says which plaintext is the right one. A wrap is broken only if that is certain
// (WrapState::kWrong): a region that is out of reach, throttled or not permitted says nothing about
// its wrap. One under another master than its region's is replaced at an operator's word only
// (`rewrap`), even if that master is another region's: reading would not try it there. A broken wrap
// gives way to a new one of the key that another region gave, once its region has unwrapped the new
// one as well: what a region answers wrongly for again and again is not the wrap's fault, and stays
// as it is.
//
// Thread-safety: none; on the loop's thread. Ownership: `parts` and `record` outlive the task.
// Blocking: never. Errors: in the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "kms/regions.h"
#include "store/record.h"

namespace keyfs {

struct WrapMending {
  Loop& loop;
  Regions& regions;
  std::function<Task<void>(size_t)> take_calls;  // waits for permission for so many calls
  std::function<TimePoint()> until;              // the deadline of the calls that are made now
  // Why a region is not to be asked now.
  std::function<std::optional<Error>(const std::string&)> out;
  // A region does not answer, or not now.
  std::function<void(const std::string&, const Error&)> silent;
  // Also replaces wraps by a master that is not the region's now, even if it is another region's.
  bool rewrap = false;
};

struct MendedWrap {
  uint32_t version;
  std::string region;
  Error was;  // why it was broken
};

struct MendedWraps {
  std::vector<MendedWrap> mended;         // in the record, which is still to be written
  std::vector<RegionFailure> unmended;    // are broken, and there is no new one
  std::vector<RegionFailure> unverified;  // by regions that could not say
  std::optional<Error> lost;  // of a version: a wrap is broken, and no region gave the key
};

Task<MendedWraps> mend_wraps(const WrapMending& parts, Record& record);

}  // namespace keyfs
