#include "fs/cli/command_context.h"

#include "base/crypto.h"
#include "base/secret.h"

namespace keyfs {

Result<std::unique_ptr<CommandContext>> CommandContext::open(const CommonArguments& common,
                                                             Makes makes) {
  auto configuration = load_configuration(common);
  if (!configuration) return fail(configuration.error());
  std::unique_ptr<CommandContext> self(new CommandContext(std::move(*configuration)));
  if (!self->configuration.embedded.empty()) {
    SecretArena arena;
    OsRandom random;
    const auto ok = makes == Makes::kAll ? prepare_embedded(self->configuration, arena, random)
                                         : check_embedded(self->configuration);
    if (!ok) return fail(ok.error());
  }
  auto backends = Backends::open(self->configuration, self->curl, self->clock, nullptr, {},
                                 makes != Makes::kNothing);
  if (!backends) return fail(backends.error());
  self->backends = std::move(*backends);
  return self;
}

}  // namespace keyfs
