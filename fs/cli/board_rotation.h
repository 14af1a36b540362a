// Rotation on the board of the configured store, for a command and the user who runs it.
//
// Thread-safety: one thread, which runs the context's loop. Ownership: refers to the context, the
// board and the output. Blocking: at its making, on the user database. Errors: none.
#pragma once

#include <string>
#include <vector>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/output.h"
#include "fs/cli/rotation.h"
#include "fs/rotation/board_desk.h"
#include "store/board.h"

namespace keyfs {

class BoardRotation {
 public:
  BoardRotation(CommandContext& context, Board& board, Output& output);
  BoardRotation(const BoardRotation&) = delete;
  BoardRotation& operator=(const BoardRotation&) = delete;

  const RotationDesk& desk() const { return desk_; }
  // Of the pulse, on all hosts.
  unsigned shards() const { return shards_; }

 private:
  // Who administers the keys of a run may steer it, and so may who is named in [admin].
  bool permitted(const std::vector<std::string>& keys, const char* verb) const;

  CommandContext& context_;
  Output& output_;
  const User user_ = invoking_user();
  const unsigned shards_;
  BoardDesk runs_;
  const RotationDesk desk_;
};

}  // namespace keyfs
