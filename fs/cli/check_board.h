// Whether the documents of the board can be read without which no keys are rotated over the hosts.
//
// Thread-safety: plain functions and a coroutine, on the loop's thread. Ownership: board and loop
// outlive the task. Blocking: never. Errors: in the item; a board that does not answer is no damage,
// and is told of by the store's own check.
#pragma once

#include <optional>
#include <string>

#include "base/check_item.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/task.h"
#include "store/board.h"

namespace keyfs {

// What damage means for people. `names`: of the documents, "run/head, run/now".
std::string damage_text(const std::string& names);

// nullopt: none is known to be damaged.
Task<std::optional<CheckItem>> check_board(Board& board, Loop& loop, TimePoint deadline);

}  // namespace keyfs
