// Local masters that must not be used, found when keyfs starts.
//
// A master that others can read or replace protects nothing. It takes away its region; the keys can
// still be read through the others. Without any other region keyfs would serve nothing, and the
// mistake is the operator's, who is watching now.
//
// Thread-safety: plain function. Blocking: on the masters' disks.
#pragma once

#include <string>
#include <vector>

#include "base/config.h"
#include "base/result.h"

namespace keyfs {

// What is wrong with such masters, by region. kDenied if every region has one.
Result<std::vector<std::string>> check_masters(const ConfigFile& file);

}  // namespace keyfs
