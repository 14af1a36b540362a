// What `keyfs check` says of signing keys: each custody of [signing], and state_dir/signing.
//
// Thread-safety: one thread, which runs the context's loop. Ownership: keeps nothing. Blocking: until
// the custodies have answered. Errors: in the items.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/check_item.h"
#include "fs/cli/command_context.h"

namespace keyfs {

// Titles, and what was found; none where no [sign ...] section lets anybody sign.
std::vector<std::pair<std::string, std::vector<CheckItem>>> check_signing(CommandContext& context);

}  // namespace keyfs
