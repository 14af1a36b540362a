// Changes a document of the board whatever others do to it meanwhile.
//
// Thread-safety: a plain coroutine, on the loop's thread. Ownership: board and loop outlive the
// task. Blocking: never. Errors: those of the board and of `change`; kTimeout if others were faster
// until the deadline.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "store/board.h"

namespace keyfs {

// Makes the new text from what is there (null: nothing); nullopt: leave it as it is. May be called
// several times.
using ChangeDocument =
    std::function<Result<std::optional<std::string>>(const BoardDocument* there)>;

// What is there afterwards. After an error that says "outcome unknown" a change that adds something
// may be made twice when it is called again.
Task<Result<std::optional<BoardDocument>>> update_document(Board& board, Loop& loop,
                                                           std::string name, ChangeDocument change,
                                                           TimePoint deadline);

}  // namespace keyfs
