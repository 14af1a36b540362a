// Splits a command as Python's shlex.split does, and with it botocore, for credential_process: by
// the quoting rules of a POSIX shell, without variables, pipes or comments.
//
// Thread-safety: a plain function. Blocking: never.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyfs {

// kInvalid for an unclosed quotation and for a backslash at the end; the message quotes nothing.
Result<std::vector<std::string>> shell_words(std::string_view text);

}  // namespace keyfs
