// Makes one version of a key: random bytes, wrapped in all regions, at least create_min_regions,
// and bound to the id, the version and the store. Writes nothing: the caller puts it into a record.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to what it is given until the task
// is done. Blocking: never.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "kms/regions.h"
#include "store/record.h"

namespace keyfs {

struct VersionWish {
  std::string id;
  uint32_t number = 1;
  uint32_t bytes = 32;
  std::string origin;  // of the record
  std::string creator;
};

struct MadeVersion {
  Version version;
  SecretBytes key;
  std::string region;  // that generated it
  std::vector<RegionFailure> missing;
};

// Errors: those of Regions::create; kInvalid for a key too short for a check value, kCorrupt for a
// region that gave another size.
Task<Result<MadeVersion>> make_version(Loop& loop, Regions& regions, VersionWish wish,
                                       TimePoint deadline);

// As a record holds it. `at`: now.
Wrap to_wrap(WrappedKey wrapped, const std::string& at);

}  // namespace keyfs
