// Splits a command as Python's shlex.split does, and with it botocore, for credential_process: by
// the quoting rules of a POSIX shell, without variables, pipes or comments.
//
// Thread-safety: a plain function. Blocking: never. Errors: kInvalid for an unclosed quotation and
// for a backslash at the end; the message quotes nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyfs {

Result<std::vector<std::string>> shell_words(std::string_view text);

}  // namespace keyfs
