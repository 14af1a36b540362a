// Tickets: what rotation was asked to do. One is done once, however often it is put: its token
// names it.
//
// Thread-safety: plain coroutines, on the loop's thread. Ownership: board, loop and random outlive
// the task. Blocking: never. Errors: the board's, and kInvalid for a token or an id that is not
// valid.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/rotation/documents.h"
#include "store/board.h"

namespace keyfs {

// Puts a ticket, and tells in the pulse that there is one (its `shards` copies). True: put; false:
// there is one with this token already. After an error that says "outcome unknown", and after one of
// the pulse, put it again.
// `may_write`: asked right before each write; may be null.
Task<Result<bool>> put_ticket(Board& board, Loop& loop, Random& random, Ticket ticket,
                              unsigned shards, TimePoint deadline,
                              std::function<Result<void>()> may_write = nullptr);

// What this ticket asks for was done meanwhile: if it is overdue, it is so no more, and the next run
// takes it.
Task<Result<void>> take_up_again(Board& board, Loop& loop, Random& random, std::string token,
                                 unsigned shards, TimePoint deadline);

struct TicketsSeen {
  struct Seen {
    Ticket ticket;
    BoardDocument document;
  };
  std::vector<Seen> tickets;         // in the order of their tokens
  std::vector<std::string> corrupt;  // names of documents
};
// At most kMaxTicketsSeen; the others wait until these are done.
inline constexpr size_t kMaxTicketsSeen = 2000;
Task<Result<TicketsSeen>> list_tickets(Board& board, TimePoint deadline);

}  // namespace keyfs
