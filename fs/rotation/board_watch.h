// Whether there is a board, and whether anybody holds the lock: of what one host does for all,
// nothing may remain undone where there is no board that may be used, or no host may run rotations.
//
// The lock's document changes each few seconds, and that of a holder that died is replaced within a
// minute. So one that is the same at two looks, 90 s apart at least, is nobody's. A look is one
// cheap read: two at the start, and one an hour from then on; while there is no board, one each five
// minutes.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: none; that there is no board is logged once.
#pragma once

#include <optional>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "base/task.h"
#include "base/wake.h"
#include "store/board.h"

namespace keyfs {

class BoardWatch {
 public:
  BoardWatch(Loop& loop, Board& board, Log& log)
      : loop_(loop), board_(board), log_(log), came_(loop) {}

  // Never ends; spawn it.
  Task<void> run();
  // Until there is a board, or one that is only silent. One task waits at a time.
  Task<void> until_there();

  bool absent() const { return absent_; }
  bool nobody_holds() const { return nobody_holds_; }

 private:
  Task<void> look();

  Loop& loop_;
  Board& board_;
  Log& log_;
  Wake came_;
  bool looked_ = false;
  bool absent_ = false;
  bool nobody_holds_ = false;
  std::optional<std::string> head_;  // its revision; empty: there was none
};

}  // namespace keyfs
