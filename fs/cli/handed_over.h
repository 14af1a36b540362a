// A rotation that an earlier command has left to the board: whether this command goes on with it, or
// begins another.
//
// Thread-safety: one thread. Blocking: take_up() on the disk. Errors: those of
// fs/cli/rotation_token.h.
#pragma once

#include <optional>

#include "base/crypto.h"
#include "base/result.h"
#include "fs/cli/rotation_token.h"
#include "fs/rotation/run_desk.h"

namespace keyfs {

// A run has made it current, or has refused it, or nobody will do it any more.
bool is_settled(const TicketFate& fate);

// `fate`: of a ticket with this token that was handed over; nullopt: the board does not tell. Then,
// and while it is not settled, the token stays, since another would make a second version; otherwise
// it is another one. On disk when this returns, and handed over no more.
Result<void> take_up(RotationToken& token, const std::optional<TicketFate>& fate, Random& random);

}  // namespace keyfs
