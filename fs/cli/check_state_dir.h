// What `keyfs check` tells of state_dir: whether a daemon can write there. One that is not there
// yet is made and taken back.
//
// Thread-safety: a plain function. Blocking: on the disk. Errors: in the item, which is not
// essential: keys are served without it. A directory that cannot be trusted is told elsewhere.
#pragma once

#include <string>

#include "base/check_item.h"

namespace keyfs {

CheckItem check_state_dir(const std::string& state_dir);

}  // namespace keyfs
