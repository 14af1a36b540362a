// keyfs rotation, over the board of the configured store.
#include "fs/cli/board_rotation.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/cli/rotation.h"
#include "fs/daemon/backends.h"

namespace keyfs {

ExitCode run_rotation(const RotationArguments& arguments, const CommonArguments& common,
                      Output& output) {
  auto opened = CommandContext::open(common, output);
  if (!opened) {
    output.error(opened.error().message);
    return exit_code_for(opened.error());
  }
  CommandContext& context = **opened;
  Board* board = context.backends->store().board();
  if (board == nullptr) {
    output.error("this store has no board, so there are no runs");
    return ExitCode::kFailed;
  }
  const BoardRotation parts(context, *board, output);
  return rotation(arguments, parts.desk(), output);
}

}  // namespace keyfs
