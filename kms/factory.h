// Builds the regions that the configuration names.
//
// Thread-safety: on the loop's thread. Blocking: never; nothing is read or contacted yet.
// Ownership: what RegionParts refers to outlives the regions.
//
//   [region NAME]
//   type = local          ; local | aws
//   key_file = FILE       ; local: the master key, 32 raw bytes, mode 0600, owned by the daemon's
//                         ; user
//   previous_key_files = FILE, FILE...
//                         ; local: masters that it had before, in the same form; they unwrap only
//   ...                   ; aws: kms/aws_region.h
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/crypto.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "kms/region.h"

namespace keyfs {

// Creates the region of one [region NAME] section; `type` has already been checked.
using MakeRegion = std::function<Result<std::unique_ptr<Region>>(const ConfigSection&)>;

struct RegionParts {
  Loop& loop;
  SecretArena& arena;
  Random& random;
  MakeRegion aws;  // needs parts that only programs with HTTP have; may be empty
};

// In file order; at least one. kInvalid, one line with file and line (base/config.h).
Result<std::vector<std::unique_ptr<Region>>> make_regions(const ConfigFile& config,
                                                          const RegionParts& parts);

// A local region with its master key in `key_file`, and those it had before in `previous`; also the
// regions of `--embedded`.
std::unique_ptr<Region> make_local_region(const RegionParts& parts, std::string name,
                                          std::string key_file,
                                          std::vector<std::string> previous = {});

}  // namespace keyfs
