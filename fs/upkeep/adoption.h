// Takes over what RKMS wrote: makes a record of ours out of one of its, with the same plaintext.
//
// RKMS bound its wraps to nothing, wrote no check value, and never compared what its regions hold.
// So every region that holds the key unwraps it, and all must give the same bytes: where one cannot
// be asked, or gives others, the record is left alone and the reason told. Then the key is wrapped
// in all configured regions, bound to its id and version. Wraps of RKMS's are not kept in the new
// record, and so every region that held the key must have wrapped it anew.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to loop and regions. Blocking:
// never; a task. Writes nothing: the caller replaces the record. Errors: kCorrupt when two regions
// hold different keys, or none a key of a possible size; kInvalid when a region that holds it is
// not configured here, and for a key that is too short for a check value; else the region's.
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
  std::vector<RegionFailure> missing;  // configured, held nothing before, and could not wrap it
};

// `record` is one with from_rkms, and its origin the id of the store that it lies in, to which the
// new wraps are bound. No key material leaves this.
Task<Result<Adopted>> adopt(Loop& loop, Regions& regions, Record record, TimePoint deadline);

}  // namespace keyfs
