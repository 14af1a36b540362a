// A mount over what keyfs itself works with hides it: the daemon would open its masters, or its
// database, through its own mount.
//
// Thread-safety: plain function. Blocking: it resolves paths, on their disks.
#pragma once

#include <string>

#include "base/result.h"
#include "fs/daemon/configuration.h"

namespace keyfs {

// `mountpoint` as of resolve_mountpoint(). kInvalid where it is, or lies above, the configuration,
// a file that it names, state_dir or the directory of --embedded, and where it lies in one of the
// latter two. `config_file`: empty for --embedded.
Result<void> check_hides_nothing_of_ours(const std::string& mountpoint,
                                         const Configuration& configuration,
                                         const std::string& config_file);

}  // namespace keyfs
