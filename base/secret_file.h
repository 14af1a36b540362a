// Files that hold a secret: credentials, tokens, passwords.
//
// Thread-safety: a plain function. Blocking: it reads a file; on a worker.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

// The whole file, straight into locked memory; nullopt if there is none. kUnavailable for one that
// cannot be read, kInvalid for one larger than 1 MiB.
Result<std::optional<SecretBytes>> read_secret_file(SecretArena& arena, const std::string& path);

}  // namespace keyfs
