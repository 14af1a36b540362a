#include "fs/cli/command_context.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <future>

#include "base/crypto.h"
#include "base/private_file.h"
#include "base/secret.h"
#include "base/thread.h"
#include "fs/cli/overdue.h"
#include "fs/daemon/state_dir.h"

namespace keyfs {
namespace {

constexpr Duration kReadConfiguration = std::chrono::seconds(10);

}  // namespace

Result<void> check_whose(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) return {};
  std::filesystem::path there = path;
  do {
    there = there.parent_path();
  } while (::stat(there.c_str(), &info) != 0 && there.has_relative_path());
  const uid_t us = ::geteuid();
  if (info.st_uid == us || info.st_uid == 0) return {};
  const std::string owner = std::to_string(info.st_uid);
  return fail(Code::kDenied, path + ": is not there, and would belong to uid " +
                                 std::to_string(us) + " in " + there.string() +
                                 ", which is of uid " + owner +
                                 ": keyfs, if it runs as that user, could not use it; run this as "
                                 "that user: sudo -u '#" +
                                 owner + "' keyfs ...");
}

RootsStateDir::RootsStateDir(std::string path) : path_(std::move(path)) {
  struct stat info {};
  if (::geteuid() != 0 || ::stat(path_.c_str(), &info) == 0) path_.clear();
}

std::string RootsStateDir::told() const {
  struct stat info {};
  if (path_.empty() || ::stat(path_.c_str(), &info) != 0) return "";
  return "state_dir " + path_ +
         " was made, and is root's: if keyfs runs as another user on this host, run: chown -R "
         "USER " +
         path_;
}

Result<void> make_state_dir(const std::string& path) {
  if (auto ok = check_whose(path); !ok) return fail(ok.error().within("state_dir"));
  const auto prepared = StateDir::prepare(path);
  if (!prepared) return fail(prepared.error());
  if (prepared->usable()) return {};
  // Existing files show whether this user was ever meant to.
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

ReplicaReader& CommandContext::memory() {
  if (!memory_) {
    memory_.emplace(backends->loop(), configuration.settings.state_dir + "/replica.db",
                    backends->doubt());
  }
  return *memory_;
}

ReplicaWriter& CommandContext::notebook() {
  if (!notebook_) {
    const std::string& dir = configuration.settings.state_dir;
    notebook_.emplace(backends->loop(), dir + "/replica.db", [dir] { return make_state_dir(dir); });
  }
  return *notebook_;
}

Store& CommandContext::told_store() {
  if (!told_store_) {
    told_store_.emplace(backends->loop(), backends->store(), backends->random(),
                        configuration.rotation.pulse_shards);
  }
  return *told_store_;
}

void CommandContext::tell_others(bool last, Output& output) {
  if (!told_store_ || !told_store_->has_news() || (untold_ && !last)) return;
  const bool in_vain = board_trouble && !told_store_->can_watch();
  const Result<void> told = in_vain ? fail(*board_trouble) : run(told_store_->tell(deadline()));
  untold_ = !told;
  if (told || !last || said_when_) return;
  output.error(
      "warning: other hosts were not told of this change: they hear of it within "
      "fresh_for (" +
      to_text(configuration.settings.fresh_for) + " here): " + told.error().message);
}

std::string CommandContext::when_heard() {
  if (!board_trouble || !told_store_ || !told_store_->has_news() || told_store_->can_watch()) {
    return "";
  }
  said_when_ = true;
  return "other hosts hear of the change within fresh_for (" +
         to_text(configuration.settings.fresh_for) + " here)";
}

Result<Configuration> load_configuration(const CommonArguments& common, Output& output) {
  const Overdue overdue(output,
                        "reading " + (common.embedded.empty() ? common.config : common.embedded),
                        kReadConfiguration);
  return load_configuration(common);
}

Result<CommandContext::Owner> CommandContext::open(const CommonArguments& common, Output& output,
                                                   Makes makes) {
  auto configuration = load_configuration(common, output);
  if (!configuration) return fail(configuration.error());
  Owner self(new CommandContext(std::move(*configuration)));
  const Settings& settings = self->configuration.settings;
  const ConfigSection* store = self->configuration.file.find("store");
  const auto* path = store == nullptr ? nullptr : store->find("path");
  const Overdue overdue(output,
                        "opening the store" + (path == nullptr ? "" : " (" + path->value + ")") +
                            " and state_dir (" + settings.state_dir + ")",
                        settings.open_deadline);
  if (!self->configuration.embedded.empty()) {
    SecretArena arena;
    OsRandom random;
    const auto ok = makes == Makes::kAll ? prepare_embedded(self->configuration, arena, random)
                                         : check_embedded(self->configuration);
    if (!ok) return fail(ok.error());
  }
  // As the daemon would: what creates must not remember it where somebody else may change it.
  if (makes == Makes::kAll && ::access(settings.state_dir.c_str(), R_OK | W_OK | X_OK) == 0) {
    if (auto ok = check_private_directory(settings.state_dir); !ok) {
      return fail(ok.error().within("state_dir"));
    }
  }
  if (makes != Makes::kNothing && path != nullptr) {
    if (auto ok = check_whose(path->value); !ok) return fail(ok.error().within("[store] path"));
  }
  auto backends = Backends::open(self->configuration, self->curl, self->clock, nullptr, {},
                                 makes != Makes::kNothing);
  if (!backends) return fail(backends.error());
  self->backends = std::move(*backends);
  return self;
}

}  // namespace keyfs
