// Which instance a daemon is (fs/rotation/host_identity.h), kept in state_dir as the file `instance`,
// or `instance-MARK` of another mount than its first.
//
// Thread-safety: plain functions. Blocking: on the disk of state_dir. Errors: of take_identity()
// those of random. Where the file cannot be read or written the daemon is another instance after
// each start, which is logged.
#pragma once

#include <string>

#include "base/crypto.h"
#include "base/log.h"
#include "base/result.h"
#include "fs/rotation/host_identity.h"

namespace keyfs {

// What the file says; a new one if there is none, or it is damaged.
Result<HostIdentity> take_identity(const std::string& path, Random& random, Log& log);
Result<void> keep_identity(const std::string& path, const HostIdentity& identity);

}  // namespace keyfs
