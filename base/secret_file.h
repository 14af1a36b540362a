// Files that hold a secret: credentials, tokens, passwords.
//
// Thread-safety: a plain function. Blocking: it reads a file; on a worker. Errors: kUnavailable for
// a file that exists but cannot be read, kInvalid for one larger than 1 MiB.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

// The whole file, straight into locked memory; nullopt if there is none.
Result<std::optional<SecretBytes>> read_secret_file(SecretArena& arena, const std::string& path);

}  // namespace keyfs
