// Records that RKMS wrote, where the configuration does not accept them.
//
// Thread-safety: pure functions. Blocking: never.
#pragma once

#include <string>

#include "base/result.h"

namespace keyfs {

// The error for a whole one (kCorrupt). Nothing is wrong with it, and nothing of keyfs's is under
// its id; no key is created for the id all the same.
Error rkms_not_accepted(const std::string& id);
// Whether it is that error, with or without context before it.
bool is_rkms_not_accepted(const Error& error);

}  // namespace keyfs
