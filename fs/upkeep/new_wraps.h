// Makes wraps that take the place of others: each new one is unwrapped by its own region, and the
// check value compared, before the old one is given up.
//
// Thread-safety: none; on the loop's thread. Ownership: `parts`, `record` and `key` outlive the
// task. Blocking: never. Errors: per region, in the result; the record then keeps what it had there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/secret.h"
#include "base/task.h"
#include "kms/regions.h"
#include "store/record.h"

namespace keyfs {

struct NewWrapParts {
  Loop& loop;
  Regions& regions;
  std::function<Task<void>(size_t)> take_calls;  // waits for permission for so many calls
  std::function<TimePoint()> until;              // the deadline of the calls that are made now
};

struct NewWraps {
  std::vector<std::string> made;    // in the record, which is still to be written
  std::vector<RegionFailure> left;  // as they were
};

Task<NewWraps> make_new_wraps(const NewWrapParts& parts, Record& record, uint32_t version,
                              const SecretBytes& key, std::vector<std::string> regions);

}  // namespace keyfs
