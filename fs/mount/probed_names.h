// Names that common tools open unasked in whatever directory they are started in or see.
//
// Every well-formed name under the mount can be opened, and a caller who may create makes a key by
// opening. `git status` in the mount would so make a key "HEAD", `make` one "Makefile". These names
// are therefore not created by open(2): it says ENOENT as long as there is no such key. `keyfs
// create NAME` makes one, which then reads like any other.
//
// Thread-safety: a pure function. Blocking: never.
#pragma once

#include <string_view>

namespace keyfs {

bool is_probed_name(std::string_view name);

}  // namespace keyfs
