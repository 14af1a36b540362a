// What a daemon still writes when it ends: each for a moment at most, since a hanging disk must not
// hold up shutdown.
//
// Thread-safety: none; when the loop does not run. Ownership: refers to what it is given. Blocking:
// for kLastWrites at most. Errors: told to the log.
#pragma once

#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "fs/keys/keyring.h"
#include "fs/keys/replica.h"

namespace keyfs {

inline constexpr Duration kLastWrites = std::chrono::seconds(2);

// Whoever opened the new key has been let go; the audit still tells whether it was created. What
// has not ended by the deadline is told as unknown.
void finish_creations(Loop& loop, Keyring& keyring, Log& log);

// Unwritten notes are missing after the next start, but nothing is lost: the store has the records.
void flush_replica(Loop& loop, Replica& replica, Log& log);

}  // namespace keyfs
