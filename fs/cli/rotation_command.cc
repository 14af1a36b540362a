// keyfs rotation, over the board of the configured store.
#include <unistd.h>

#include <algorithm>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/cli/key_answers.h"
#include "fs/cli/rotation.h"
#include "fs/daemon/backends.h"
#include "fs/rotation/board_desk.h"

namespace keyfs {

ExitCode run_rotation(const RotationArguments& arguments, const CommonArguments& common,
                      Output& output) {
  auto opened = CommandContext::open(common, output);
  if (!opened) {
    output.error(opened.error().message);
    return exit_code_for(opened.error());
  }
  CommandContext& context = **opened;
  Backends& backends = *context.backends;
  Board* board = backends.store().board();
  if (board == nullptr) {
    output.error("this store has no board, so there are no runs");
    return ExitCode::kFailed;
  }
  const Policy& policy = *context.configuration.policy;
  const User user = invoking_user();
  // Who administers the keys of a run may steer it, and so may who is named in [admin].
  const auto permitted = [&](const std::vector<std::string>& keys, const char* verb) {
    KnownGroups groups(user.groups);
    if (policy.is_admin(user.caller, groups)) return true;
    if (verb != nullptr) return may_administer(keys, verb, policy, output);
    return !keys.empty() && std::all_of(keys.begin(), keys.end(), [&](const std::string& id) {
      return permission_for(policy, id, user).administer;
    });
  };
  BoardDesk runs(backends.loop(), *board, backends.random());
  const RotationDesk desk{backends.loop(),
                          runs,
                          context.configuration.settings.open_deadline,
                          user.text() + " on " + host_name(),
                          terminal_columns(STDOUT_FILENO),
                          permitted};
  return rotation(arguments, desk, output);
}

}  // namespace keyfs
