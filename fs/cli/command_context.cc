#include "fs/cli/command_context.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <future>

#include "base/crypto.h"
#include "base/secret.h"
#include "base/thread.h"
#include "fs/daemon/state_dir.h"

namespace keyfs {

Result<void> make_state_dir(const std::string& path) {
  const auto prepared = StateDir::prepare(path);
  if (!prepared) return fail(prepared.error());
  if (prepared->usable()) return {};
  // What is there of it tells whether this user was ever meant to.
  std::filesystem::path there = path;
  struct stat info {};
  while (::stat(there.c_str(), &info) != 0 && there.has_relative_path()) {
    there = there.parent_path();
  }
  const bool denied = ::access(there.c_str(), W_OK | X_OK) != 0 && errno == EACCES;
  return fail(denied ? Code::kDenied : Code::kUnavailable, "state_dir: " + prepared->trouble());
}

void CommandContext::TakeDown::operator()(CommandContext* context) const noexcept {
  auto down = std::make_shared<std::promise<void>>();
  const auto is_down = down->get_future();
  auto thread = try_start_thread("keyfs-end", [context, down] {
    delete context;
    down->set_value();
  });
  if (!thread) {
    delete context;
    return;
  }
  if (is_down.wait_for(kPatience) == std::future_status::ready) {
    thread->join();
  } else {
    thread->detach();
  }
}

Result<CommandContext::Owner> CommandContext::open(const CommonArguments& common, Makes makes) {
  auto configuration = load_configuration(common);
  if (!configuration) return fail(configuration.error());
  Owner self(new CommandContext(std::move(*configuration)));
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
