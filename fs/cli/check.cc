// keyfs check.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/file.h"
#include "base/private_file.h"
#include "base/race.h"
#include "fs/cli/check_board.h"
#include "fs/cli/check_consumers.h"
#include "fs/cli/check_lost.h"
#include "fs/cli/check_signing.h"
#include "fs/cli/check_state_dir.h"
#include "fs/cli/check_webhook.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/cli/overdue.h"
#include "fs/daemon/audit_place.h"
#include "fs/daemon/process.h"
#include "fs/mount/inode_ids.h"
#include "store/known_store.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

// AWS takes about ten seconds to create a table.
constexpr Duration kTableDeadline = std::chrono::minutes(2);

// The store or one region.
struct Part {
  std::string title;
  std::vector<CheckItem> items;

  bool ok() const {
    return std::all_of(items.begin(), items.end(), [](const auto& item) { return item.ok; });
  }
  bool usable() const {
    return std::all_of(items.begin(), items.end(),
                       [](const auto& item) { return item.ok || !item.essential; });
  }
};

Json to_json(const Part& part) {
  Json items = Json::array();
  for (const auto& item : part.items) {
    Json one = {{"what", item.what}, {"ok", item.ok}, {"detail", item.detail}};
    if (!item.remedy.empty()) one["remedy"] = item.remedy;
    items.push_back(std::move(one));
  }
  return {{"part", part.title}, {"ok", part.ok()}, {"items", items}};
}

void print(const Part& part, std::ostream& out) {
  out << part.title << '\n';
  size_t width = 0;
  for (const auto& item : part.items) width = std::max(width, item.what.size());
  for (const auto& item : part.items) {
    out << (item.ok ? "  ok    " : "  FAIL  ") << item.what
        << std::string(width - item.what.size(), ' ') << "  " << Output::printable(item.detail)
        << '\n';
    if (!item.remedy.empty()) out << "        -> " << Output::printable(item.remedy) << '\n';
  }
}

Part check_memory() {
  CheckItem item{"may lock memory", true, "", ""};
  if (const auto ok = check_lockable_memory(); !ok) {
    item.ok = false;
    item.detail = ok.error().message;
  } else {
    const size_t bytes = SecretArena::lockable_bytes();
    item.detail = bytes == SIZE_MAX ? "without a limit" : std::to_string(bytes / 1024) + " KiB";
  }
  return {"memory", {item}};
}

// Or may make it. errno tells why not.
bool may_append(const std::string& path) {
  if (::access(path.c_str(), W_OK) == 0) return true;
  if (errno != ENOENT) return false;
  return ::access(directory_of(path).c_str(), W_OK) == 0 || errno == ENOENT;
}

// What the daemon writes to, as far as it is there: nobody else may own it or write to it.
Part check_files(const Configuration& configuration) {
  const Settings& settings = configuration.settings;
  const auto look = [](const char* what, const std::string& path, bool directory) {
    CheckItem item{what, true, path, ""};
    struct stat about {};
    Result<void> good;
    if (::lstat(path.c_str(), &about) != 0) {
      if (errno != ENOENT) good = fail(os_error(path, "cannot be examined"));
      if (errno == ENOENT) item.detail += ": does not exist yet";
    } else if (directory) {
      good = check_private_directory(path);
    } else if (S_ISLNK(about.st_mode)) {
      good = fail(Code::kDenied, path + ": is a symbolic link");
    } else if (!S_ISREG(about.st_mode)) {
      good = fail(Code::kDenied, path + ": is not a regular file");
    } else {
      good = check_guard(path, about, Guard::kOurs);
    }
    if (good) good = check_place(path);
    if (!good) {
      item.ok = false;
      item.detail = good.error().message;
      item.remedy = "let the daemon's user own it, and nobody else write it";
    }
    return item;
  };
  Part part{"files", {look("state_dir", settings.state_dir, true)}};
  part.items.push_back(look("log", settings.state_dir + "/keyfs.log", false));
  if (const auto audit = audit_place(configuration); !audit) {
    part.items.push_back(
        {"audit", false, audit.error().message, "start the journal, or name a file"});
  } else if (const std::string& file = audit->file; !file.empty()) {
    CheckItem item = look("audit", file, false);
    if (item.ok && !may_append(file)) {
      item.ok = false;
      item.detail = os_error(file, "cannot be written").message;
      item.remedy = "make it writable for the daemon's user";
    }
    part.items.push_back(std::move(item));
  }
  CheckItem ids{"node ids", true, settings.state_dir + "/node_ids", ""};
  if (const auto good = check_inode_ids(settings.state_dir); !good) {
    ids.ok = false;
    // The daemon does without the file where it can't use state_dir, which is told below.
    ids.essential = good.error().code == Code::kCorrupt ||
                    ::access(settings.state_dir.c_str(), R_OK | W_OK | X_OK) == 0;
    ids.detail = good.error().message;
    ids.remedy = ids.essential ? "until then nothing is mounted"
                               : "let the daemon's user read and write in state_dir";
  }
  part.items.push_back(std::move(ids));
  const auto* store = configuration.file.find("store");
  const auto* path = store == nullptr ? nullptr : store->find("path");
  if (path != nullptr) {
    part.items.push_back(look("database", path->value, false));
    part.items.back().essential = false;  // what is refused has failed to open by now
  }
  return part;
}

// What a daemon can do without, and is degraded then: it makes no key on such a host.
// Whether damage has given rows other ids than their records name. A file of which not all can be
// read in time is no worse for it.
void look_at_rows(CommandContext& context, CheckItem& replica) {
  Loop& loop = context.backends->loop();
  const Duration patience =
      std::min<Duration>(std::chrono::seconds(3), context.configuration.settings.open_deadline / 3);
  const auto misnamed = context.run(
      before(loop, loop.now() + patience, "reading the replica", context.memory().misnamed()));
  if (misnamed ? *misnamed == 0 : misnamed.error().code == Code::kTimeout) return;
  replica.ok = false;
  if (!misnamed) {
    replica.detail = misnamed.error().message;
    replica.remedy = "until then keys are served and none is made on this host";
    return;
  }
  replica.detail += ": " + std::to_string(*misnamed) + " rows are damaged: their ids changed";
  replica.remedy =
      "look for a failing disk. These keys are served, and none is made in their place; once the "
      "store holds everything that it should, stop keyfs and delete " +
      context.configuration.settings.state_dir + "/replica.db*";
}

Part check_memory_of_records(CommandContext& context) {
  const std::string& state_dir = context.configuration.settings.state_dir;
  CheckItem written = check_state_dir(state_dir);
  CheckItem replica{"replica", true, state_dir + "/replica.db", "", false};
  // Any id: whether the file can tell is what matters.
  const Recall recall = context.run(context.memory().recall("keyfs-check"));
  if (written.ok && recall.what == Recall::What::kUnknown) {
    replica.ok = false;
    replica.detail = recall.why ? recall.why->message : "cannot be read";
    replica.remedy = "until then keys are served and none is made on this host";
  } else {
    look_at_rows(context, replica);
  }
  return {"memory of records", {std::move(written), std::move(replica)}};
}

Part check_policy(const Policy& policy) {
  const size_t sections = policy.sections().size();
  CheckItem item{"[keys ...] sections", sections != 0, std::to_string(sections), ""};
  if (sections == 0) {
    item.detail = "there is none, so nobody can open any key";
    item.remedy = "add sections that say who may read and create what: keyfs.ini(5)";
  }
  return {"policy", {item}};
}

// Whether the keys of the store can be unwrapped by the masters that are there: those of its first
// page stand for all. After the regions were checked, which tells their masters.
Part check_keys(CommandContext& context) {
  constexpr size_t kLookedAt = 500;
  CheckItem item{"wrapped by these masters", true, "", ""};
  const auto page = context.run(context.backends->store().list("", kLookedAt, context.deadline()));
  if (!page) {
    item.ok = item.essential = false;
    item.detail = "could not list keys: " + page.error().message;
    item.remedy = "see what the store says above";
    return {"keys", {item}};
  }
  const Regions& regions = context.backends->regions();
  size_t looked_at = 0;
  size_t unreadable = 0;  // every one of its masters is another now
  std::map<std::string, size_t> other;
  for (const auto& entry : page->entries) {
    if (entry.corrupt || entry.from_rkms || entry.state == KeyState::kDeleted) continue;
    ++looked_at;
    const auto found = regions.under_other_masters(entry.masters);
    for (const auto& region : found) ++other[region];
    const bool all = !found.empty() && found.size() == entry.masters.size();
    if (all && regions.under_previous_masters(entry.masters).empty()) ++unreadable;
  }
  item.detail = std::to_string(looked_at) + (looked_at == 1 ? " key" : " keys") +
                (page->next ? " examined; there are more" : " examined");
  if (other.empty()) return {"keys", {item}};
  item.ok = false;
  item.essential = unreadable != 0;
  for (const auto& [region, keys] : other) {
    item.detail += "; " + std::to_string(keys) + " wrapped by another master than " + region + "'s";
  }
  item.remedy = unreadable != 0
                    ? "no master here may be able to unwrap " + std::to_string(unreadable) +
                          " of them: put the right masters back; nothing else can read these keys"
                    : "put the right master back; if it was changed on purpose, keyfs rewrap wraps "
                      "the keys under the new one (keyfs heal does so as well)";
  return {"keys", {item}};
}

// Before the store is opened: which refuses to be another one than this host knows.
Result<void> accept_store(const CommonArguments& common, Output& output) {
  const auto configuration = load_configuration(common, output);
  if (!configuration) return fail(configuration.error());
  const std::string& state_dir = configuration->settings.state_dir;
  const Overdue overdue(output, "forgetting the store in " + state_dir,
                        configuration->settings.open_deadline);
  const auto forgotten = forget_known_store(state_dir);
  if (!forgotten) return fail(forgotten.error());
  if (!output.json()) {
    output.out() << (*forgotten
                         ? "this host has forgotten which store it used before (" + state_dir +
                               "); the configured store is now the known one. A running keyfs "
                               "stays with the old one: restart it, SIGHUP is not enough\n"
                         : "this host remembered no store (" + state_dir + ")\n");
  }
  return {};
}

}  // namespace

ExitCode run_check(const CheckArguments& arguments, const CommonArguments& common, Output& output) {
  if (arguments.accept_store) {
    if (const auto ok = accept_store(common, output); !ok) {
      output.error(ok.error().message);
      return exit_code_for(ok.error());
    }
  }
  auto opened = CommandContext::open(common, output, Makes::kDatabase);
  if (!opened) {
    output.error(opened.error().message);
    return exit_code_for(opened.error());
  }
  CommandContext& context = **opened;
  Regions& regions = context.backends->regions();
  bool protected_table = true;
  if (arguments.create_table) {
    const TimePoint deadline = context.clock.now() + kTableDeadline;
    const auto made = context.run(context.backends->store().make_table(deadline));
    if (!made) {
      output.error(made.error().message);
      return exit_code_for(made.error());
    }
    if (!output.json()) output.out() << made->done << '\n';
    if (made->missing) output.error(made->missing->message);
    protected_table = !made->missing;
  }
  std::vector<Part> parts = {check_memory(), check_policy(*context.configuration.policy)};
  {
    const Settings& settings = context.configuration.settings;
    const Overdue overdue(output,
                          "looking at state_dir (" + settings.state_dir + "), log and audit",
                          settings.open_deadline);
    parts.push_back(check_files(context.configuration));
    if (const auto& file = context.configuration.rotation.webhook_file; !file.empty()) {
      parts.back().items.push_back(check_webhook(context.backends->arena(), file));
    }
    parts.push_back(check_memory_of_records(context));
    auto consumers = check_consumers(context.configuration.consumers);
    if (!consumers.empty()) parts.push_back({"consumers", std::move(consumers)});
  }
  const bool remembers = parts[3].ok();
  const bool starts = parts[2].usable();  // else the daemon refuses to
  const auto* store = context.configuration.file.find("store");
  const auto* type = store == nullptr ? nullptr : store->find("type");
  parts.push_back({"store" + (type == nullptr ? "" : " (" + type->value + ")"),
                   context.run(context.backends->store().check(context.deadline())).items});
  if (Board* board = context.backends->store().board(); board != nullptr && parts.back().usable()) {
    auto damage = context.run(check_board(*board, context.backends->loop(), context.deadline()));
    if (damage) parts.back().items.push_back(std::move(*damage));
  }
  const bool stored = parts.back().usable();
  size_t good = 0;
  for (auto& [name, check] : context.run(regions.check(context.deadline()))) {
    parts.push_back(
        {"region " + name + (check.master.empty() ? "" : " (" + check.master + ")"), check.items});
    if (parts.back().usable()) ++good;
  }
  if (stored) {
    parts.push_back(check_keys(context));
    if (remembers) parts.back().items.push_back(check_lost(context));
  }
  const bool reads = !stored || parts.back().usable();
  for (auto& [title, items] : check_signing(context)) parts.push_back({title, std::move(items)});
  const bool usable = parts[0].ok() && starts && stored && good > 0 && reads;
  const bool whole =
      usable && protected_table &&
      std::all_of(parts.begin(), parts.end(), [](const Part& part) { return part.ok(); });
  if (output.json()) {
    Json all = Json::array();
    for (const auto& part : parts) all.push_back(to_json(part));
    output.write({{"configuration", context.configuration.file.name()},
                  {"state", whole    ? "good"
                            : usable ? "degraded"
                                     : "failed"},
                  {"parts", all}});
  } else {
    output.out() << "configuration " << context.configuration.file.name() << '\n';
    for (const auto& part : parts) print(part, output.out());
    if (usable && good < regions.create_min_regions()) {
      output.out() << "keys can be read but not created: " << good << " of "
                   << regions.create_min_regions() << " required regions are good\n";
    }
  }
  return whole ? ExitCode::kDone : usable ? ExitCode::kPartial : ExitCode::kFailed;
}

}  // namespace keyfs
