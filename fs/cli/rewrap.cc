// keyfs rewrap.
#include "fs/upkeep/rewrap.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <utility>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/cli/key_answers.h"
#include "fs/cli/rewrap_cursor.h"
#include "fs/upkeep/record_changes.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kDollarsPerCall = 0.03 / 10'000;

std::optional<WallTime> time_of(const std::string& date) {
  constexpr size_t kDay = std::string_view("2026-01-31").size();
  return from_rfc3339(date.size() == kDay ? date + "T00:00:00Z" : date);
}

double price_of(const RewrapReport& report) {
  return static_cast<double>(report.charged) * kDollarsPerCall;
}

std::string dollars(double price) {
  char text[32];
  std::snprintf(text, sizeof text, "$%.4f", price);
  return text;
}

std::string counted(size_t number, const char* one, const char* more) {
  return std::to_string(number) + " " + (number == 1 ? one : more);
}

Json to_json(const RewrapReport& report, bool dry_run, bool resumed) {
  Json left = Json::array();
  for (const auto& key : report.left) {
    left.push_back({{"id", key.id}, {"regions", to_json(key.regions)}});
  }
  Json failures = Json::array();
  for (const auto& key : report.failures) {
    failures.push_back(
        {{"id", key.id}, {"error", word_of(key.error, key.id)}, {"reason", key.error.message}});
  }
  return {
      {"dry_run", dry_run},    {"resumed", resumed},          {"keys", report.keys},
      {"whole", report.whole}, {"rewrapped", report.changed}, {"versions", report.versions},
      {"wraps", report.wraps}, {"dropped", report.dropped},   {"rkms", report.rkms},
      {"calls", report.calls}, {"kms_calls", report.charged}, {"price_usd", price_of(report)},
      {"left", left},          {"failures", failures},        {"not_noted", report.unnoted.size()}};
}

void tell_failures(const RewrapReport& report, Output& output) {
  for (const auto& key : report.left) {
    output.error(Output::printable(key.id) + ": not done: " + text_of(key.regions));
  }
  for (const auto& key : report.failures) {
    // Most errors name the key themselves.
    const bool named = key.error.message.find("key " + key.id) != std::string::npos;
    output.error((named ? "" : Output::printable(key.id) + ": ") + key.error.message);
  }
  if (!report.unnoted.empty()) {
    output.error("this host's memory was not told of " + std::to_string(report.unnoted.size()) +
                 " keys, so that its copies of their records lack the new wraps until it reads "
                 "them: " +
                 report.unnoted.front().error.message);
  }
  // A user without access to state_dir only looks.
  if (report.unseen && report.unseen->code != Code::kDenied) {
    output.error("this host could not note which keys it has seen: " + report.unseen->message);
  }
}

void print(const RewrapReport& report, bool dry_run, bool resumed, const std::string& drop,
           Output& output) {
  tell_failures(report, output);
  if (!drop.empty() && report.dropped == 0 && report.complete()) {
    output.error("no key that was examined has a wrap in region " + Output::printable(drop));
  }
  if (output.json()) return output.write(to_json(report, dry_run, resumed));
  std::ostream& out = output.out();
  out << report.keys << " examined" << (resumed ? " (after those of the interrupted run)" : "")
      << ", " << report.whole << " whole, " << report.changed
      << (dry_run ? " to rewrap" : " rewrapped") << ": "
      << counted(report.versions, "version", "versions") << ", "
      << counted(report.wraps, "wrap", "wraps") << (dry_run ? " to make" : " made");
  if (report.dropped != 0) out << ", " << report.dropped << (dry_run ? " to drop" : " dropped");
  if (!report.left.empty()) out << ", " << report.left.size() << " not done in every region";
  if (!report.failures.empty()) out << ", " << report.failures.size() << " failed";
  if (report.rkms != 0) {
    out << ", " << report.rkms << " written by RKMS (keyfs heal --adopt converts them)";
  }
  out << '\n';
  if (dry_run) {
    out << counted(report.calls, "call", "calls") << " to regions, " << report.charged
        << " of them to KMS: " << dollars(price_of(report)) << '\n';
  }
}

// The masters, as far as they can be told without asking KMS for a dry run. False where one should
// be known and is not: its region's wraps may be by another master, which is not seen.
bool learn_masters(CommandContext& context, bool dry_run, Output& output) {
  Regions& regions = context.backends->regions();
  context.run(dry_run ? regions.keep_warm_uncharged() : regions.keep_warm());
  bool all = true;
  for (const auto& [region, master] : regions.masters()) {
    if (!master.empty()) continue;
    if (!dry_run || !regions.is_charged(region)) {
      output.error("the master of [region " + region +
                   "] could not be read or asked for: whether keys are wrapped by it or by one "
                   "before can't be told, so run this again when it is there");
      all = false;
      continue;
    }
    output.error(
        "a dry run asks KMS nothing, so it can't tell which master stands behind the key "
        "of [region " +
        region + "], and counts the wraps there as made by it; an ARN as key tells");
  }
  return all;
}

// What a cursor is of.
std::string description_of(const RewrapArguments& arguments, const Regions& regions) {
  Json what = {{"older_than", arguments.older_than}, {"drop", arguments.drop}};
  for (const auto& [region, master] : regions.masters()) what["masters"][region] = master;
  return what.dump();
}

// Goes over every key from where an interrupted run was.
Result<void> run_all(CommandContext& context, Rewrap& rewrap, const RewrapArguments& arguments,
                     bool& resumed, Output& output) {
  RewrapCursor cursor(context.configuration.settings.state_dir,
                      description_of(arguments, context.backends->regions()));
  std::string after;
  std::optional<Error> unkept;
  Rewrap::PageDone page_done;
  if (!arguments.dry_run) {
    auto was = cursor.read();
    if (was) after = std::move(*was);
    if (!was) unkept = was.error();
    page_done = [&](const std::string& next) {
      if (unkept) return;
      if (auto ok = cursor.move_to(next); !ok) unkept = ok.error();
    };
  }
  resumed = !after.empty();
  auto gone = context.run(rewrap.run({}, std::move(after), std::move(page_done), TimePoint::max()));
  // What failed is looked for from the start again.
  if (gone && !arguments.dry_run) cursor.remove();
  if (unkept && unkept->code != Code::kDenied) {
    output.error(
        "this host could not note how far it was, so that the command, if it is "
        "interrupted, begins from the start again: " +
        unkept->message);
  }
  return gone;
}

ExitCode code_of(const RewrapReport& report, const std::string& state_dir) {
  const bool told = std::all_of(
      report.unnoted.begin(), report.unnoted.end(),
      [&](const RewrapReport::Failure& key) { return without_access(key.error, state_dir); });
  if (report.complete()) return told ? ExitCode::kDone : ExitCode::kPartial;
  return report.failures.size() == report.keys ? ExitCode::kFailed : ExitCode::kPartial;
}

}  // namespace

ExitCode run_rewrap(const RewrapArguments& arguments, const CommonArguments& common,
                    Output& output) {
  if (!are_key_ids(arguments.ids, output)) return ExitCode::kUsage;
  RewrapOptions options;
  options.drop = arguments.drop;
  options.dry_run = arguments.dry_run;
  if (!arguments.older_than.empty()) {
    options.older_than = time_of(arguments.older_than);
    if (!options.older_than) {
      output.error("--older-than: \"" + Output::printable(arguments.older_than) +
                   "\" must be a date or a time in UTC: 2026-01-31 or 2026-01-31T12:00:00Z");
      return ExitCode::kUsage;
    }
    if (*options.older_than > SystemClock().wall()) {
      output.error("--older-than: " + arguments.older_than +
                   " is in the future: new wraps would be older as well");
      return ExitCode::kUsage;
    }
  }
  auto opened = CommandContext::open(common, output);
  if (!opened) {
    output.error(opened.error().message);
    return exit_code_for(opened.error());
  }
  CommandContext& context = **opened;
  if (!may_administer(arguments.ids, "rewrap", *context.configuration.policy, output)) {
    return ExitCode::kFailed;
  }
  const Settings& settings = context.configuration.settings;
  Regions& regions = context.backends->regions();
  options.calls_per_second = settings.background_calls_per_second;
  options.call_deadline = settings.open_deadline;
  if (!options.drop.empty() && regions.has(options.drop)) {
    output.error("warning: [region " + options.drop +
                 "] is still in the configuration: until it is removed on every host, keys are "
                 "wrapped there again");
  }
  const RootsStateDir new_state_dir(
      context.configuration.embedded.empty() && !options.dry_run ? settings.state_dir : "");
  const bool known = learn_masters(context, options.dry_run, output);
  Rewrap rewrap(context.backends->loop(), context.backends->store(), regions, context.log, options,
                context.memory(), context.notebook());
  bool resumed = false;
  auto ids = arguments.ids;
  const auto gone = ids.empty()
                        ? run_all(context, rewrap, arguments, resumed, output)
                        : context.run(rewrap.run(std::move(ids), "", nullptr, TimePoint::max()));
  if (const std::string told = new_state_dir.told(); !told.empty()) output.error(told);
  print(rewrap.report(), options.dry_run, resumed, options.drop, output);
  if (!gone) {
    output.error(gone.error().message + (arguments.ids.empty() && !options.dry_run
                                             ? " (the same command again goes on from here)"
                                             : ""));
    return ExitCode::kFailed;
  }
  if (resumed) {
    output.error(
        "this run went on from an interrupted one: before old masters are taken away, run it "
        "again, from the start, until it makes no more wraps");
  }
  const ExitCode code = code_of(rewrap.report(), settings.state_dir);
  return code == ExitCode::kDone && !known ? ExitCode::kPartial : code;
}

}  // namespace keyfs
