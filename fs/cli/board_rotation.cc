#include "fs/cli/board_rotation.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "fs/cli/key_answers.h"
#include "fs/daemon/backends.h"

namespace keyfs {
namespace {

// What hosts need to notice a ticket, and that nobody does it, and to take over.
Duration holder_patience(const RotationSettings& settings) {
  return 2 * settings.poll_every + std::chrono::minutes(1);
}

}  // namespace

BoardRotation::BoardRotation(CommandContext& context, Board& board, Output& output)
    : context_(context),
      output_(output),
      shards_(context.configuration.rotation.pulse_shards),
      runs_(context.backends->loop(), board, context.backends->random(), shards_),
      desk_{context.backends->loop(),
            runs_,
            context.configuration.settings.open_deadline,
            user_.text() + " on " + host_name(),
            holder_patience(context.configuration.rotation),
            terminal_columns(STDOUT_FILENO),
            [this](const std::vector<std::string>& keys, const char* verb) {
              return permitted(keys, verb);
            }} {}

bool BoardRotation::permitted(const std::vector<std::string>& keys, const char* verb) const {
  const Policy& policy = *context_.configuration.policy;
  KnownGroups groups(user_.groups);
  if (policy.is_admin(user_.caller, groups)) return true;
  if (verb != nullptr) return may_administer(keys, verb, policy, output_);
  return !keys.empty() && std::all_of(keys.begin(), keys.end(), [&](const std::string& id) {
    return permission_for(policy, id, user_).administer;
  });
}

}  // namespace keyfs
