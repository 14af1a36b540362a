// Converts a record that RKMS wrote into a keyfs record with the same plaintext.
//
// RKMS bound its wraps to nothing, wrote no check value, and never compared its regions. So every
// region that holds the key unwraps it, and all must give the same bytes: if one is unreachable, or
// gives different bytes, the record is left unchanged and the reason reported. Then the key is
// wrapped in all configured regions, bound to its id and version. RKMS's wraps are not kept in the
// new record, so every region that held the key must have wrapped it again.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to loop and regions. Blocking:
// never; a task. Writes nothing: the caller replaces the record.
#pragma once

#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "kms/regions.h"
#include "store/record.h"

namespace keyfs {

struct Adopted {
  Record record;
  std::vector<RegionFailure> missing;  // configured, did not hold the key before, and could not
                                       // wrap it
};

// `record` has from_rkms set, and as origin the id of its store, which the new wraps are bound to.
// No key material leaves this function. kCorrupt if two regions hold different keys, or the key has
// an impossible size; kInvalid if a region that holds it is not configured here, and for a key too
// short for a check value; otherwise the region's error.
Task<Result<Adopted>> adopt(Loop& loop, Regions& regions, Record record, TimePoint deadline);

}  // namespace keyfs
