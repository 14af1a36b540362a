// keyfs list, keyfs describe.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <string>
#include <utility>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/policy/key_id.h"
#include "fs/upkeep/key_admin.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kPage = 500;

std::vector<std::string> regions_of(const ListPage::Entry& entry) {
  std::vector<std::string> regions;
  for (const auto& [region, master] : entry.masters) regions.push_back(region);
  return regions;
}

// Whether one region's master stands in for another's (multi-Region keys), and whether a key was
// wrapped by the master that is there now, is known once the masters are.
void learn_masters(CommandContext& context) {
  context.run(context.backends->regions().keep_warm());
}

class Listing {
 public:
  Listing(CommandContext& context, std::optional<Glob> glob)
      : context_(context), glob_(std::move(glob)) {}

  Result<void> read() {
    std::string after;
    Store& store = context_.backends->store();
    if (auto same = context_.run(check_same_store(store, context_.deadline())); !same) {
      return fail(same.error().within("could not list keys"));
    }
    for (;;) {
      auto page = context_.run(store.list(after, kPage, context_.deadline()));
      if (!page) return fail(page.error().within("could not list keys"));
      for (auto& entry : page->entries) take(std::move(entry));
      if (!page->next) break;
      after = std::move(*page->next);
    }
    learn_masters(context_);
    return {};
  }

  void print(Output& output) const { output.json() ? print_json(output) : print_text(output); }

  // A key is damaged, or lacks a region that it could have.
  bool degraded() const {
    return std::any_of(entries_.begin(), entries_.end(), [this](const auto& entry) {
      return entry.corrupt || !missing_from(entry).empty() || !other_master_of(entry).empty();
    });
  }

 private:
  using Masters = std::map<std::string, std::string>;
  // The regions that `what` gives for a version of the entry, in their configured order. The healer
  // ignores deleted keys.
  template <typename What>
  std::vector<std::string> in_any_version(const ListPage::Entry& entry, What what) const {
    if (entry.state == KeyState::kDeleted) return {};
    std::vector<std::string> regions = what(entry.masters);
    if (entry.others.empty()) return regions;
    std::set<std::string> found(regions.begin(), regions.end());
    for (const Masters& masters : entry.others) {
      for (auto& region : what(masters)) found.insert(std::move(region));
    }
    regions = context_.backends->regions().names();
    std::erase_if(regions, [&](const std::string& region) { return !found.contains(region); });
    return regions;
  }

  // What the healer would fill in.
  std::vector<std::string> missing_from(const ListPage::Entry& entry) const {
    return in_any_version(entry, [this](const Masters& masters) {
      return context_.backends->regions().lacking(masters);
    });
  }

  // Regions whose master is not the one that wrapped it any more.
  std::vector<std::string> other_master_of(const ListPage::Entry& entry) const {
    return in_any_version(entry, [this](const Masters& masters) {
      return context_.backends->regions().under_other_masters(masters);
    });
  }

  std::string remark(const ListPage::Entry& entry) const {
    std::string text;
    if (const auto missing = missing_from(entry); !missing.empty()) {
      text = "degraded: not in " + joined(missing);
    }
    if (const auto other = other_master_of(entry); !other.empty()) {
      text +=
          (text.empty() ? "degraded: " : "; ") + ("wrapped by another master in " + joined(other));
    }
    return text;
  }

  void take(ListPage::Entry entry) {
    if (!is_key_id(entry.id) || (glob_ && !glob_->matches(entry.id))) return;
    if (!permission_for(*context_.configuration.policy, entry.id, user_).see) return;
    entries_.push_back(std::move(entry));
  }

  void print_text(Output& output) const {
    if (entries_.empty()) return;
    std::vector<std::vector<std::string>> rows = {
        {"ID", "STATE", "VERSION", "BYTES", "REGIONS", ""}};
    for (const auto& entry : entries_) {
      if (entry.corrupt) {
        rows.push_back({entry.id, "corrupt"});
        continue;
      }
      rows.push_back({entry.id, std::string(to_string(entry.state)), std::to_string(entry.current),
                      std::to_string(entry.bytes), joined(regions_of(entry), ","), remark(entry)});
    }
    print_table(output.out(), rows);
  }

  void print_json(Output& output) const {
    Json keys = Json::array();
    for (const auto& entry : entries_) {
      if (entry.corrupt) {
        keys.push_back({{"id", entry.id}, {"corrupt", true}});
        continue;
      }
      keys.push_back({{"id", entry.id},
                      {"state", to_string(entry.state)},
                      {"version", entry.current},
                      {"bytes", entry.bytes},
                      {"regions", regions_of(entry)},
                      {"missing", missing_from(entry)},
                      {"other_master", other_master_of(entry)}});
    }
    output.write({{"keys", keys}});
  }

  CommandContext& context_;
  const User user_ = invoking_user();
  const std::optional<Glob> glob_;
  std::vector<ListPage::Entry> entries_;
};

Json to_json(const KeyDescription& key) {
  Json versions = Json::array();
  for (const auto& version : key.versions) {
    Json wrapped = Json::array();
    for (const auto& wrap : version.wrapped) {
      wrapped.push_back({{"region", wrap.region}, {"master", wrap.master}, {"at", wrap.at}});
    }
    versions.push_back({{"version", version.version},
                        {"state", to_string(version.state)},
                        {"created", version.created},
                        {"creator", version.creator},
                        {"promoted", version.promoted},
                        {"destroyed", version.destroyed},
                        {"bytes", version.bytes},
                        {"check", version.has_check},
                        {"wrapped", wrapped},
                        {"missing", version.missing},
                        {"other_master", version.other_master}});
  }
  return {{"id", key.id},           {"state", to_string(key.state)},
          {"current", key.current}, {"pending", key.pending != 0 ? Json(key.pending) : Json()},
          {"min", key.min},         {"degraded", key.degraded()},
          {"rkms", key.from_rkms},  {"versions", versions}};
}

// What is special about a version.
std::string remark(const KeyDescription& key, const KeyDescription::VersionInfo& version) {
  if (version.version == key.current) return " (current)";
  if (version.version == key.pending) return " (pending)";
  switch (version.state) {
    case VersionState::kRetired:
      return " (retired)";
    case VersionState::kDestroyed:
      return key.state == KeyState::kDeleted ? "" : " (destroyed)";
    case VersionState::kPending:
      return " (never current)";
    case VersionState::kReadable:
    case VersionState::kNever:
      break;
  }
  return "";
}

void print(const KeyDescription& key, std::ostream& out) {
  out << key.id << "\n  state    " << to_string(key.state)
      << (key.from_rkms ? ", written by RKMS" : "") << '\n';
  for (const auto& version : key.versions) {
    out << "  version  " << version.version << remark(key, version) << ", " << version.bytes
        << " bytes";
    if (!version.created.empty()) out << ", created " << Output::printable(version.created);
    if (!version.creator.empty()) out << " on " << Output::printable(version.creator);
    if (!version.promoted.empty()) out << ", promoted " << Output::printable(version.promoted);
    out << '\n';
    std::vector<std::vector<std::string>> rows;
    for (const auto& wrap : version.wrapped) {
      rows.push_back({"   ", Output::printable(wrap.region), Output::printable(wrap.master),
                      wrap.at.empty() ? "" : "wrapped " + Output::printable(wrap.at)});
    }
    if (key.state == KeyState::kDeleted && version.wrapped.empty()) {
      rows.push_back({"   ", "wrapped nowhere: it was deleted, permanently"});
    } else if (version.state == VersionState::kDestroyed) {
      rows.push_back({"   ", "wrapped nowhere: it was destroyed, permanently, at " +
                                 Output::printable(version.destroyed)});
    }
    for (const auto& region : version.missing)
      rows.push_back({"   ", region, "missing: keyfs heal " + key.id});
    for (const auto& region : version.other_master) {
      rows.push_back({"   ", region,
                      "its master is another one now. Wrong, or changed on purpose? keyfs heal " +
                          key.id + " wraps the key under it"});
    }
    print_table(out, rows);
  }
}

}  // namespace

ExitCode run_list(const ListArguments& arguments, const CommonArguments& common, Output& output) {
  std::optional<Glob> glob;
  if (!arguments.glob.empty()) {
    auto parsed = Glob::parse(arguments.glob);
    if (!parsed) {
      output.error(parsed.error().message);
      return ExitCode::kUsage;
    }
    glob = std::move(*parsed);
  }
  auto context = CommandContext::open(common, output);
  if (!context) {
    output.error(context.error().message);
    return exit_code_for(context.error());
  }
  Listing listing(**context, std::move(glob));
  if (auto ok = listing.read(); !ok) {
    output.error(ok.error().message);
    return ExitCode::kFailed;
  }
  listing.print(output);
  return listing.degraded() ? ExitCode::kPartial : ExitCode::kDone;
}

ExitCode run_describe(const DescribeArguments& arguments, const CommonArguments& common,
                      Output& output) {
  if (!are_key_ids(arguments.ids, output)) return ExitCode::kUsage;
  auto opened = CommandContext::open(common, output);
  if (!opened) {
    output.error(opened.error().message);
    return exit_code_for(opened.error());
  }
  CommandContext& context = **opened;
  KeyAdmin admin(context.backends->loop(), context.backends->store(), context.backends->regions(),
                 context.memory(), context.notebook(), host_name());
  const User user = invoking_user();
  Tally tally;
  Json keys = Json::array();
  bool learned = false;
  for (const auto& id : arguments.ids) {
    const auto failed = [&](const Error& error) {
      output.error(error.message);
      keys.push_back({{"id", id}, {"error", word_of(error, id)}, {"reason", error.message}});
      tally.failed();
    };
    const Permission permission = permission_for(*context.configuration.policy, id, user);
    if (!permission.see) {
      failed(refusal(permission, user, "describe", id, "read or admin"));
      continue;
    }
    if (!std::exchange(learned, true)) learn_masters(context);
    const auto key = context.run(admin.describe(id, context.deadline()));
    if (!key) {
      failed(key.error());
      continue;
    }
    Json json = to_json(*key);
    // A user without access to state_dir only looks.
    if (key->not_noted && key->not_noted->code != Code::kDenied) {
      output.error(id +
                   ": this host could not note that it has seen this key, and may have been unable "
                   "to compare its record with what it remembers: " +
                   key->not_noted->message);
      json["not_noted"] = key->not_noted->message;
    }
    if (output.json()) {
      keys.push_back(std::move(json));
    } else {
      print(*key, output.out());
    }
    key->degraded() ? tally.partial() : tally.done();
  }
  if (output.json()) output.write({{"keys", keys}});
  return tally.code();
}

}  // namespace keyfs
