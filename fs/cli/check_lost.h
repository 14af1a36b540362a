// Part of `keyfs check`: whether the store still has what this host has seen.
//
// Thread-safety: on the thread of the context. Blocking: runs the context's loop, at most 4 s.
// Errors: none; what cannot be compared is said in the item.
#pragma once

#include "fs/cli/command_context.h"

namespace keyfs {

// Compares this host's memory with the store, read-only: at most 10,000 ids, and the records of 20.
CheckItem check_lost(CommandContext& context);

}  // namespace keyfs
