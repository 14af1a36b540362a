// keyfs create, disable, enable, delete, heal.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/upkeep/healer.h"
#include "fs/upkeep/key_admin.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const std::vector<RegionFailure>& missing) {
  Json all = Json::array();
  for (const auto& failure : missing) {
    all.push_back({{"region", failure.region},
                   {"code", to_string(failure.error.code)},
                   {"reason", failure.error.message}});
  }
  return all;
}

std::string text_of(const std::vector<RegionFailure>& missing) {
  std::vector<std::string> all;
  for (const auto& failure : missing) all.push_back(failure.region + ": " + failure.error.message);
  return joined(all, "; ");
}

// This user has no access to state_dir, and has done what they could. A file system that nobody can
// write to is no such case.
bool without_access(const Error& why, const std::string& state_dir) {
  return why.code == Code::kDenied && (::access(state_dir.c_str(), W_OK) == 0 || errno != EROFS);
}

// Does the same to each id and tells how it went.
class PerKey {
 public:
  PerKey(CommandContext& context, Output& output)
      : context_(context),
        output_(output),
        admin_(context.backends->loop(), context.backends->store(), context.backends->regions(),
               context.memory(), context.notebook(), host_name()) {}

  void create(const std::string& id, uint32_t bytes) {
    if (!permitted(id, "create", "both read and create, or in admin", &Permission::create)) return;
    const auto made = context_.run(admin_.create(id, bytes, context_.deadline()));
    if (!made) return failed(id, made.error());
    if (made->state == KeyState::kDeleted) {
      return failed(id, Error(Code::kInvalid, "could not create key " + id +
                                                  ": it was deleted, which is permanent"));
    }
    std::string line = made->created ? "created, version " : "already exists, version ";
    line += std::to_string(made->version) + ", wrapped in " + joined(made->regions);
    if (made->state != KeyState::kEnabled) line += ", " + std::string(to_string(made->state));
    if (!made->missing.empty()) line += "; missing: " + text_of(made->missing);
    Json json = {{"id", id},
                 {"created", made->created},
                 {"state", to_string(made->state)},
                 {"version", made->version},
                 {"regions", made->regions},
                 {"missing", to_json(made->missing)}};
    // A user without access to state_dir sees existing keys without it.
    const bool only_looked =
        !made->created && made->not_noted && made->not_noted->code == Code::kDenied;
    const bool told = only_looked || noted(id, made->state, made->not_noted, json);
    report(id, line, std::move(json));
    told && made->missing.empty() ? tally_.done() : tally_.partial();
  }

  void set_state(const std::string& id, KeyState state, std::string_view verb) {
    if (!permitted(id, verb, "admin", &Permission::administer)) return;
    const auto changed = context_.run(admin_.set_state(id, state, context_.deadline()));
    if (!changed) return failed(id, changed.error());
    const bool same = changed->before == changed->after;
    Json json = {
        {"id", id}, {"before", to_string(changed->before)}, {"state", to_string(changed->after)}};
    const bool told =
        noted(id, changed->after, changed->not_noted, json) ||
        without_access(*changed->not_noted, context_.configuration.settings.state_dir);
    report(id,
           (same ? "is " : "") + std::string(to_string(changed->after)) + (same ? " already" : ""),
           std::move(json));
    told ? tally_.done() : tally_.partial();
  }

  ExitCode finish() {
    if (const std::string told = new_state_dir_.told(); !told.empty()) output_.error(told);
    if (output_.json()) output_.write({{"keys", keys_}});
    return tally_.code();
  }

 private:
  // False, after a message, if this host will not remember the change.
  bool noted(const std::string& id, KeyState state, const std::optional<Error>& why_not,
             Json& json) {
    if (!why_not) return true;
    output_.error(id + " is " + std::string(to_string(state)) +
                  " in the store, but this host could not record the change, so it would not "
                  "notice if the store reverted it: " +
                  why_not->message);
    json["not_noted"] = why_not->message;
    return false;
  }

  bool permitted(const std::string& id, std::string_view verb, std::string_view entries,
                 bool Permission::*what) {
    const Permission permission = permission_for(*context_.configuration.policy, id, user_);
    if (permission.*what) return true;
    failed(id, refusal(permission, user_, verb, id, entries));
    return false;
  }

  void report(const std::string& id, const std::string& line, Json json) {
    if (output_.json()) {
      keys_.push_back(std::move(json));
    } else {
      output_.out() << id << ": " << line << '\n';
    }
  }

  void failed(const std::string& id, const Error& error) {
    output_.error(error.message);
    keys_.push_back({{"id", id}, {"error", word_of(error, id)}, {"reason", error.message}});
    tally_.failed();
  }

  CommandContext& context_;
  Output& output_;
  const RootsStateDir new_state_dir_{
      context_.configuration.embedded.empty() ? context_.configuration.settings.state_dir : ""};
  KeyAdmin admin_;
  const User user_ = invoking_user();
  Tally tally_;
  Json keys_ = Json::array();
};

ExitCode for_each_id(
    const std::vector<std::string>& ids, const CommonArguments& common, Makes makes, Output& output,
    const std::function<void(PerKey&, const CommandContext&, const std::string&)>& act) {
  if (!are_key_ids(ids, output)) return ExitCode::kUsage;
  auto context = CommandContext::open(common, output, makes);
  if (!context) {
    output.error(context.error().message);
    return exit_code_for(context.error());
  }
  PerKey keys(**context, output);
  for (const auto& id : ids) act(keys, **context, id);
  const ExitCode code = keys.finish();
  // What was asked for is done, or said to be so, in a store that may have lost what others did.
  const std::string trouble = (*context)->backends->store().trouble();
  if (trouble.empty()) return code;
  output.error("warning: " + trouble);
  return code == ExitCode::kDone ? ExitCode::kPartial : code;
}

// Prints an error for each id that the user may not heal.
bool may_heal(const std::vector<std::string>& ids, const Policy& policy, Output& output) {
  const User user = invoking_user();
  if (ids.empty()) {
    KnownGroups groups(user.groups);
    if (policy.is_admin(user.caller, groups)) return true;
    output.error(user.text() + " may not heal all keys: [admin] does not name them in read");
    return false;
  }
  bool all = true;
  for (const auto& id : ids) {
    const Permission permission = permission_for(policy, id, user);
    if (permission.administer) continue;
    output.error(refusal(permission, user, "heal", id, "admin").message);
    all = false;
  }
  return all;
}

// One line for each region: while it is out, it is the same for every key.
void tell_unverified(const std::vector<HealReport::Missing>& keys, Output& output) {
  std::map<std::string, std::pair<size_t, std::string>> by_region;
  for (const auto& key : keys) {
    for (const auto& failure : key.regions) {
      auto& [count, reason] = by_region[failure.region];
      if (count++ == 0) reason = failure.error.message;
    }
  }
  for (const auto& [region, told] : by_region) {
    output.error("not verified in " + region + ": the wraps of " + std::to_string(told.first) +
                 (told.first == 1 ? " key" : " keys") + " (" + told.second + ")");
  }
}

void print(const HealReport& report, Output& output) {
  if (output.json()) {
    Json missing = Json::array();
    for (const auto& key : report.missing)
      missing.push_back({{"id", key.id}, {"regions", to_json(key.regions)}});
    Json unverified = Json::array();
    for (const auto& key : report.unverified)
      unverified.push_back({{"id", key.id}, {"regions", to_json(key.regions)}});
    Json failures = Json::array();
    for (const auto& key : report.failures) {
      failures.push_back(
          {{"id", key.id}, {"error", word_of(key.error, key.id)}, {"reason", key.error.message}});
    }
    output.write({{"keys", report.keys},
                  {"whole", report.whole},
                  {"healed", report.healed},
                  {"mended", report.mended},
                  {"adopted", report.adopted},
                  {"rkms", report.rkms},
                  {"rkms_left", report.rkms_left ? Json(*report.rkms_left) : Json()},
                  {"missing", missing},
                  {"unverified", unverified},
                  {"failures", failures},
                  {"not_noted", report.unnoted.size()}});
    return;
  }
  for (const auto& key : report.missing)
    output.error(Output::printable(key.id) + ": still missing: " + text_of(key.regions));
  for (const auto& key : report.failures) {
    // Most errors name the key themselves.
    const bool named = key.error.message.find("key " + key.id) != std::string::npos;
    output.error((named ? "" : Output::printable(key.id) + ": ") + key.error.message);
  }
  tell_unverified(report.unverified, output);
  if (!report.unnoted.empty()) {
    output.error("this host's memory was not told of " + std::to_string(report.unnoted.size()) +
                 " healed keys, so that its copies of their records lack the new wraps until it "
                 "reads them: " +
                 report.unnoted.front().error.message);
  }
  // A user without access to state_dir only looks.
  if (report.unseen && report.unseen->code != Code::kDenied) {
    output.error("this host could not note which keys it has seen: " + report.unseen->message);
  }
  output.out() << report.keys << " examined, " << report.whole << " whole, " << report.healed
               << " healed, " << report.missing.size() << " still lack a region, "
               << report.failures.size() << " failed";
  if (report.mended != 0) output.out() << ", " << report.mended << " mended";
  if (!report.unverified.empty()) {
    output.out() << ", " << report.unverified.size() << " not verified";
  }
  if (report.adopted != 0) output.out() << ", " << report.adopted << " adopted";
  if (report.rkms != 0)
    output.out() << ", " << report.rkms << " written by RKMS (--adopt converts them)";
  output.out() << '\n';
  if (report.rkms_left == 0u) {
    output.out() << "no RKMS record is left: once nothing writes such records any more, remove "
                    "accept_rkms_records from [store] on every host\n";
  }
}

}  // namespace

ExitCode run_create(const CreateArguments& arguments, const CommonArguments& common,
                    Output& output) {
  return for_each_id(arguments.ids, common, Makes::kAll, output,
                     [&](PerKey& keys, const CommandContext& context, const std::string& id) {
                       keys.create(id, arguments.bytes != 0
                                           ? arguments.bytes
                                           : context.configuration.settings.key_bytes);
                     });
}

ExitCode run_set_state(const SetStateArguments& arguments, const CommonArguments& common,
                       Output& output) {
  using Verb = SetStateArguments::Verb;
  const KeyState state = arguments.verb == Verb::kDisable  ? KeyState::kDisabled
                         : arguments.verb == Verb::kEnable ? KeyState::kEnabled
                                                           : KeyState::kDeleted;
  if (arguments.verb == Verb::kDelete && !arguments.yes) {
    output.error("nothing was done: delete permanently removes every wrapped copy of " +
                 Output::printable(joined(arguments.ids)) +
                 ", and what was encrypted with it can never be read again. If this is "
                 "intended, add --yes; to stop serving a key reversibly, use keyfs disable");
    return ExitCode::kUsage;
  }
  const std::string_view verb = arguments.verb == Verb::kDisable  ? "disable"
                                : arguments.verb == Verb::kEnable ? "enable"
                                                                  : "delete";
  return for_each_id(arguments.ids, common, Makes::kNothing, output,
                     [&](PerKey& keys, const CommandContext&, const std::string& id) {
                       keys.set_state(id, state, verb);
                     });
}

ExitCode run_heal(const HealArguments& arguments, const CommonArguments& common, Output& output) {
  if (!are_key_ids(arguments.ids, output)) return ExitCode::kUsage;
  auto opened = CommandContext::open(common, output);
  if (!opened) {
    output.error(opened.error().message);
    return exit_code_for(opened.error());
  }
  CommandContext& context = **opened;
  if (!may_heal(arguments.ids, *context.configuration.policy, output)) return ExitCode::kFailed;
  HealOptions options;
  options.calls_per_second = context.configuration.settings.heal_calls_per_second;
  options.call_deadline = context.configuration.settings.open_deadline;
  options.adopt = arguments.adopt;
  options.rewrap = true;
  // An unwrap is a small part of what a region can do, and somebody waits.
  options.verify = true;
  options.verify_calls_per_second = 20 * options.calls_per_second;
  const std::string& state_dir = context.configuration.settings.state_dir;
  Healer healer(context.backends->loop(), context.backends->store(), context.backends->regions(),
                context.log, options, &context.memory(), &context.notebook());
  const RootsStateDir new_state_dir(context.configuration.embedded.empty() ? state_dir : "");
  context.run(context.backends->regions().keep_warm());  // tells which masters are there now
  const auto report = context.run(healer.run_once(arguments.ids, TimePoint::max()));
  if (const std::string told = new_state_dir.told(); !told.empty()) output.error(told);
  if (!report) {
    output.error(report.error().message);
    return ExitCode::kFailed;
  }
  print(*report, output);
  const bool told = std::all_of(
      report->unnoted.begin(), report->unnoted.end(),
      [&](const HealReport::Failure& key) { return without_access(key.error, state_dir); });
  if (report->complete()) return told ? ExitCode::kDone : ExitCode::kPartial;
  return report->failures.size() == report->keys && report->keys != 0 ? ExitCode::kFailed
                                                                      : ExitCode::kPartial;
}

}  // namespace keyfs
