// keyfs create, disable, enable, delete, heal.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/cli/key_answers.h"
#include "fs/upkeep/healer.h"
#include "fs/upkeep/key_admin.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

// One for all ids: what it has found out about this host's memory holds for all.
KeyAdmin& admin_of(std::optional<KeyAdmin>& admin, CommandContext& context) {
  if (!admin) {
    admin.emplace(context.backends->loop(), context.told_store(), context.backends->regions(),
                  context.memory(), context.notebook(), host_name());
  }
  return *admin;
}

void create(KeyAnswers& keys, CommandContext& context, KeyAdmin& admin, const std::string& id,
            uint32_t bytes) {
  if (!keys.permitted(id, "create", "both read and create, or in admin", &Permission::create)) {
    return;
  }
  const auto made = context.run(admin.create(id, bytes, context.deadline()));
  if (!made) return keys.failed(id, made.error());
  if (made->state == KeyState::kDeleted) {
    return keys.failed(id, Error(Code::kInvalid, "could not create key " + id +
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
  const bool told = only_looked || keys.noted(id, to_string(made->state), made->not_noted, json);
  keys.report(id, line, std::move(json));
  told && made->missing.empty() ? keys.done() : keys.partial();
}

void set_state(KeyAnswers& keys, CommandContext& context, KeyAdmin& admin, const std::string& id,
               KeyState state, std::string_view verb) {
  if (!keys.permitted(id, verb, "admin", &Permission::administer)) return;
  const auto changed = context.run(admin.set_state(id, state, context.deadline()));
  if (!changed) return keys.failed(id, changed.error());
  const bool same = changed->before == changed->after;
  Json json = {
      {"id", id}, {"before", to_string(changed->before)}, {"state", to_string(changed->after)}};
  const bool told = keys.noted_if_possible(id, to_string(changed->after), changed->not_noted, json);
  keys.report(
      id, (same ? "is " : "") + std::string(to_string(changed->after)) + (same ? " already" : ""),
      std::move(json));
  told ? keys.done() : keys.partial();
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
  std::optional<KeyAdmin> admin;
  return for_each_id(arguments.ids, common, Makes::kAll, output,
                     [&](KeyAnswers& keys, CommandContext& context, const std::string& id) {
                       const uint32_t usual = context.configuration.settings.key_bytes;
                       create(keys, context, admin_of(admin, context), id,
                              arguments.bytes != 0 ? arguments.bytes : usual);
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
  std::optional<KeyAdmin> admin;
  return for_each_id(arguments.ids, common, Makes::kNothing, output,
                     [&](KeyAnswers& keys, CommandContext& context, const std::string& id) {
                       set_state(keys, context, admin_of(admin, context), id, state, verb);
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
  if (!may_administer(arguments.ids, "heal", *context.configuration.policy, output)) {
    return ExitCode::kFailed;
  }
  HealOptions options;
  options.calls_per_second = context.configuration.settings.background_calls_per_second;
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
