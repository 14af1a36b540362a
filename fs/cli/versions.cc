// keyfs rotate, promote, retire, destroy.
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <set>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/cli/key_answers.h"
#include "fs/cli/overdue.h"
#include "fs/cli/rotation_token.h"
#include "fs/policy/key_id.h"
#include "fs/upkeep/key_versions.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;
using Outcome = Promotion::Outcome;

KeyVersions versions_of(CommandContext& context) {
  return {context.backends->loop(),
          context.told_store(),
          context.backends->regions(),
          context.memory(),
          context.notebook(),
          host_name(),
          context.configuration.settings.open_deadline};
}

std::string numbered(uint32_t version) { return "version " + std::to_string(version); }

std::string listed(const std::vector<uint32_t>& versions) {
  std::vector<std::string> words;
  for (const uint32_t version : versions) words.push_back(std::to_string(version));
  return (versions.size() == 1 ? "version " : "versions ") + joined(words);
}

std::string_view word_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kPromoted:
      return "promoted";
    case Outcome::kAlready:
      return "already";
    case Outcome::kHeld:
      return "held";
    case Outcome::kSuperseded:
      return "superseded";
    case Outcome::kNot:
      break;
  }
  return "not-promoted";
}

std::string line_of(const Promotion& told, const std::string& id) {
  const std::string version = numbered(told.version);
  std::string line;
  switch (told.outcome) {
    case Outcome::kPromoted:
      line = version + " is current now, before it " + numbered(told.before);
      break;
    case Outcome::kAlready:
      line = told.current == told.version
                 ? version + " is current already"
                 : version + " was made current before; now it is " + numbered(told.current);
      break;
    case Outcome::kHeld:
      line = version + " is made and held; " + numbered(told.current) +
             " stays current until: keyfs promote " + id + " " + std::to_string(told.version);
      break;
    case Outcome::kSuperseded:
      line = version +
             " was made and is not current: a higher version had become current before; "
             "now it is " +
             numbered(told.current);
      break;
    case Outcome::kNot:
      break;
  }
  if (!told.regions.empty()) line += ", tested in " + joined(told.regions);
  if (!told.missing.empty()) line += "; missing: " + text_of(told.missing);
  return line;
}

// What a rotation and a promotion answer. `what_next`: after a failure, or where nothing was to do.
void answer(KeyAnswers& keys, const std::string& id, const Promotion& told,
            const std::string& what_next) {
  Json json = {{"id", id},
               {"version", told.version},
               {"before", told.before},
               {"current", told.current},
               {"made", told.made},
               {"outcome", word_of(told.outcome)},
               {"regions", told.regions},
               {"missing", to_json(told.missing)}};
  const bool noted =
      keys.noted_if_possible(id, "at " + numbered(told.current), told.not_noted, json);
  if (told.not_promoted) {
    const Error error(told.not_promoted->code,
                      numbered(told.version) + " of key " + id + " is not made current, and " +
                          numbered(told.current) + " stays it: " + told.not_promoted->message +
                          what_next);
    return keys.failed(id, error, std::move(json));
  }
  const bool already = told.outcome == Outcome::kAlready;
  keys.report(id, line_of(told, id) + (already ? what_next : ""), std::move(json));
  noted&& told.missing.empty() ? keys.done() : keys.partial();
}

// Rotations of this command, and their tokens until their ends were told.
class Rotations {
 public:
  Rotations(const RotateArguments& arguments, Output& output)
      : arguments_(arguments), output_(output) {}

  void rotate(KeyAnswers& keys, CommandContext& context, const std::string& id) {
    if (!seen_.insert(id).second) return;  // named twice
    if (!keys.permitted(id, "rotate", "admin", &Permission::administer)) return;
    RotateRequest request{id, arguments_.token, arguments_.hold};
    std::optional<RotationToken> kept;
    if (request.token.empty()) {
      auto taken = take(context, id);
      if (!taken) return keys.failed(id, taken.error());
      kept = std::move(*taken);
      request.token = kept->text();
    }
    KeyVersions versions = versions_of(context);
    const auto told = context.run(versions.rotate(std::move(request)));
    // kInvalid: refused before anything was done, so that there is nothing to go on with.
    const bool over = told ? !told->not_promoted : told.error().code == Code::kInvalid;
    if (told) {
      const bool interrupted = kept && told->outcome == Outcome::kAlready;
      answer(keys, id, *told, interrupted ? kAnother : told->not_promoted ? kGoOn : "");
    } else {
      keys.failed(id, over ? told.error() : Error(told.error().code, told.error().message + kGoOn));
    }
    if (!over || !kept) return;
    if (output_.json()) {
      over_.push_back(std::move(*kept));  // it is told with the others
    } else if (output_.out().flush()) {
      forget(*kept);
    }
  }

  void forget() {
    for (RotationToken& token : over_) forget(token);
  }

 private:
  static constexpr const char* kAnother =
      " (by a rotation that was interrupted; the same command again makes another version)";
  static constexpr const char* kGoOn = " (the same command again goes on with this rotation)";

  void forget(RotationToken& token) {
    if (auto ok = token.forget(); !ok) {
      output_.error(
          "the next keyfs rotate of this key will find this rotation, and make nothing: " +
          ok.error().message);
    }
  }

  Result<RotationToken> take(CommandContext& context, const std::string& id) {
    const std::string& state_dir = context.configuration.settings.state_dir;
    const Duration patience = context.configuration.settings.open_deadline;
    const Overdue overdue(output_, "noting the rotation in state_dir (" + state_dir + ")",
                          2 * patience);
    auto taken = RotationToken::take(state_dir, id, arguments_.hold, random_, patience);
    if (taken) return taken;
    return fail(taken.error().within("could not rotate key " + id +
                                     ": this host could not note which rotation it has begun, to "
                                     "go on with it after a failure"));
  }

  const RotateArguments& arguments_;
  Output& output_;
  OsRandom random_;
  std::set<std::string> seen_;
  std::vector<RotationToken> over_;
};

}  // namespace

ExitCode run_rotate(const RotateArguments& arguments, const CommonArguments& common,
                    Output& output) {
  if (!arguments.token.empty() && !is_rotation_token(arguments.token)) {
    output.error("--token: \"" + arguments.token + "\" must be " + std::string(kKeyIdRule));
    return ExitCode::kUsage;
  }
  Rotations rotations(arguments, output);
  return for_each_id(
      arguments.ids, common, Makes::kNothing, output,
      [&](KeyAnswers& keys, CommandContext& context, const std::string& id) {
        rotations.rotate(keys, context, id);
      },
      [&] { rotations.forget(); });
}

ExitCode run_promote(const PromoteArguments& arguments, const CommonArguments& common,
                     Output& output) {
  return for_each_id({arguments.id}, common, Makes::kNothing, output,
                     [&](KeyAnswers& keys, CommandContext& context, const std::string& id) {
                       if (!keys.permitted(id, "promote", "admin", &Permission::administer)) return;
                       KeyVersions versions = versions_of(context);
                       const auto told = context.run(versions.promote(id, arguments.version));
                       if (!told) return keys.failed(id, told.error());
                       answer(keys, id, *told, "");
                     });
}

ExitCode run_retire(const RetireArguments& arguments, const CommonArguments& common,
                    Output& output) {
  const auto retire = [&](KeyAnswers& keys, CommandContext& context, const std::string& id) {
    if (!keys.permitted(id, "retire", "admin", &Permission::administer)) return;
    KeyVersions versions = versions_of(context);
    const auto told = context.run(versions.retire(id, arguments.below));
    if (!told) return keys.failed(id, told.error());
    Json json = {
        {"id", id}, {"before", told->before}, {"min", told->after}, {"current", told->current}};
    const bool noted = keys.noted_if_possible(
        id, "without versions below " + std::to_string(told->after), told->not_noted, json);
    std::string line = told->after == 1
                           ? "no version is retired"
                           : "versions below " + std::to_string(told->after) + " are retired";
    if (told->before == told->after) line += " already";
    keys.report(id, line, std::move(json));
    noted ? keys.done() : keys.partial();
  };
  return for_each_id({arguments.id}, common, Makes::kNothing, output, retire);
}

ExitCode run_destroy(const DestroyArguments& arguments, const CommonArguments& common,
                     Output& output) {
  if (!arguments.yes) {
    output.error("nothing was done: destroy permanently removes every wrapped copy of " +
                 listed(arguments.versions) + " of " + Output::printable(arguments.id) +
                 ", and what was encrypted with it can never be read again. If this is intended, "
                 "add --yes");
    return ExitCode::kUsage;
  }
  const auto destroy = [&](KeyAnswers& keys, CommandContext& context, const std::string& id) {
    if (!keys.permitted(id, "destroy", "admin", &Permission::administer)) return;
    KeyVersions versions = versions_of(context);
    const auto told = context.run(versions.destroy(id, arguments.versions));
    if (!told) return keys.failed(id, told.error());
    Json json = {{"id", id}, {"destroyed", told->destroyed}, {"already", told->already}};
    const bool noted =
        keys.noted_if_possible(id, "without " + listed(arguments.versions), told->not_noted, json);
    std::string line;
    if (!told->destroyed.empty()) line = listed(told->destroyed) + " destroyed";
    if (!told->already.empty()) {
      line += (line.empty() ? "" : ", ") + listed(told->already) + " destroyed already";
    }
    keys.report(id, line, std::move(json));
    noted ? keys.done() : keys.partial();
  };
  return for_each_id({arguments.id}, common, Makes::kNothing, output, destroy);
}

}  // namespace keyfs
