// Which stores the records in a replica's file are bound to.
//
// Thread-safety: plain function; also while a daemon writes the file. Blocking: reads the whole
// file. Errors: kUnavailable if the file cannot be read, kCorrupt if it, or a row of it, is damaged.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

// Each once, in order. Records that are bound to no store are left out. `path`: of a file that exists.
Result<std::vector<std::string>> replica_origins(const Clock& clock, const std::string& path);

}  // namespace keyfs
