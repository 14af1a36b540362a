// keyfs rotate, promote, retire, destroy.
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <set>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/encoding.h"
#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/commands.h"
#include "fs/cli/handed_over.h"
#include "fs/cli/key_answers.h"
#include "fs/cli/overdue.h"
#include "fs/cli/rotation_token.h"
#include "fs/cli/telling.h"
#include "fs/policy/key_id.h"
#include "fs/rotation/runner.h"
#include "fs/upkeep/key_versions.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;
using Outcome = Promotion::Outcome;
using Own = Telling::Own;
using Asked = Telling::Asked;

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

// Why it was not done; nullopt: it was.
std::optional<Code> why_not(const Result<Promotion>& told) {
  if (!told) return told.error().code;
  if (told->not_promoted) return told->not_promoted->code;
  return std::nullopt;
}

// What a rotation and a promotion answer. `what_next`: after a failure, or where nothing was to do.
// `more`: what else is told of the key.
Own answer(KeyAnswers& keys, const std::string& id, const Promotion& told,
           const std::string& what_next, const Json& more) {
  Json json = {{"id", id},
               {"version", told.version},
               {"before", told.before},
               {"current", told.current},
               {"made", told.made},
               {"outcome", word_of(told.outcome)},
               {"regions", told.regions},
               {"missing", to_json(told.missing)}};
  json.update(more);
  const bool noted =
      keys.noted_if_possible(id, "at " + numbered(told.current), told.not_noted, json);
  if (told.not_promoted) {
    const Error error(told.not_promoted->code,
                      numbered(told.version) + " of key " + id + " is not made current, and " +
                          numbered(told.current) + " stays it: " + told.not_promoted->message +
                          what_next);
    keys.failed_for_now(id, error, std::move(json));
    return Own::kFailed;
  }
  const bool already = told.outcome == Outcome::kAlready;
  keys.report(id, line_of(told, id) + (already ? what_next : ""), std::move(json));
  return noted && told.missing.empty() ? Own::kDone : Own::kPartial;
}

Own answer(KeyAnswers& keys, const std::string& id, const Error& error, const Json& more) {
  Json json = {{"id", id}};
  json.update(more);
  keys.failed_for_now(id, error, std::move(json));
  return Own::kFailed;
}

constexpr const char* kPromotedLater =
    " (it is overdue: a host that runs rotations does it as soon as that can be done, unless "
    "somebody has changed the current version by then)";

Result<std::string> random_token(Random& random) {
  std::array<uint8_t, 16> bytes{};
  if (auto ok = random.fill(bytes); !ok) return fail(ok.error());
  return hex_encode(bytes);
}

// Rotations of this command, and their tokens until their ends were told.
class Rotations {
 public:
  Rotations(const RotateArguments& arguments, Output& output)
      : arguments_(arguments), output_(output), telling_(output, arguments.wait) {}

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
    std::string ticket_token = request.token;
    if (!kept) {
      auto derived = token_of_both(request.token, id);
      if (!derived) return keys.failed(id, derived.error());
      ticket_token = std::move(*derived);
    }
    KeyVersions versions = versions_of(context);
    const auto told = context.run(versions.rotate(std::move(request)));
    const auto why = why_not(told);
    Asked asked = Asked::kNot;
    if (!arguments_.hold && (!why || may_be_done_later(*why))) {
      Ticket ticket;
      ticket.token = ticket_token;
      ticket.kind = Ticket::Kind::kRotate;
      ticket.id = id;
      if (!kept) ticket.rotation = arguments_.token;
      asked = telling_.ask(context, std::move(ticket), !why);
    }
    const char* go_on = asked == Asked::kPut ? kLater : kGoOn;
    // kInvalid: refused before anything was done, so that there is nothing to go on with. While the
    // consumers can't be told, the same command goes on with telling them.
    const bool refused = !told && told.error().code == Code::kInvalid;
    const bool over = refused || (!why && asked != Asked::kSilent);
    Json more = Json::object();
    if (!refused) telling_.tell(more, ticket_token, asked);
    Own own = Own::kFailed;
    if (told) {
      const bool interrupted = kept && told->outcome == Outcome::kAlready && over;
      own = answer(keys, id, *told, interrupted ? kAnother : why ? go_on : "", more);
    } else {
      const Error error(told.error().code, told.error().message + (refused ? "" : go_on));
      own = answer(keys, id, error, more);
    }
    telling_.count(keys, id, ticket_token, own, asked);
    if (!kept) return;
    if (why && asked == Asked::kPut) return handed_over_.push_back(std::move(*kept));
    if (!over) return;
    if (output_.json()) {
      over_.push_back(std::move(*kept));  // it is told with the others
    } else if (output_.out().flush()) {
      forget(*kept);
    }
  }

  void tell(KeyAnswers& keys) { telling_.finish(keys); }

  // Once everything was told. A command that is killed before, while others do what it has left to
  // them, finds it done when it is run again, and makes no second version.
  void finish() {
    for (RotationToken& token : over_) forget(token);
    for (RotationToken& token : handed_over_) noted(token.hand_over());
  }

 private:
  static constexpr const char* kAnother =
      " (by a rotation that was interrupted; the same command again makes another version)";
  static constexpr const char* kGoOn = " (the same command again goes on with this rotation)";
  static constexpr const char* kLater =
      " (it is overdue: a host that runs rotations goes on with it as soon as that can be done; so "
      "does the same command again, until then)";

  // One NAME may be given to rotations of many keys, and each has a ticket of its own.
  static Result<std::string> token_of_both(const std::string& token, const std::string& id) {
    const auto digest = sha256(bytes_of(token + "/" + id));
    if (!digest) return fail(digest.error());
    return hex_encode(*digest);
  }

  void forget(RotationToken& token) { noted(token.forget()); }

  void noted(const Result<void>& done) {
    if (done) return;
    output_.error("the next keyfs rotate of this key will find this rotation, and make nothing: " +
                  done.error().message);
  }

  Result<RotationToken> take(CommandContext& context, const std::string& id) {
    const std::string& state_dir = context.configuration.settings.state_dir;
    const Duration patience = context.configuration.settings.open_deadline;
    const auto in_time = [&] {
      return Overdue(output_, "noting the rotation in state_dir (" + state_dir + ")", 2 * patience);
    };
    auto taken = [&] {
      const Overdue overdue = in_time();
      return RotationToken::take(state_dir, id, arguments_.hold, random_, patience);
    }();
    if (taken && taken->handed_over()) {
      const auto fate = telling_.fate(context, taken->text());
      const Overdue overdue = in_time();
      if (auto ok = take_up(*taken, fate, random_); !ok) taken = fail(std::move(ok.error()));
    }
    if (taken) return taken;
    return fail(taken.error().within("could not rotate key " + id +
                                     ": this host could not note which rotation it has begun, to "
                                     "go on with it after a failure"));
  }

  const RotateArguments& arguments_;
  Output& output_;
  Telling telling_;
  OsRandom random_;
  std::set<std::string> seen_;
  std::vector<RotationToken> over_;
  std::vector<RotationToken> handed_over_;
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
      [&] { rotations.finish(); },
      [&](KeyAnswers& keys, CommandContext&) { rotations.tell(keys); });
}

ExitCode run_promote(const PromoteArguments& arguments, const CommonArguments& common,
                     Output& output) {
  Telling telling(output, arguments.wait);
  const auto promote = [&](KeyAnswers& keys, CommandContext& context, const std::string& id) {
    if (!keys.permitted(id, "promote", "admin", &Permission::administer)) return;
    KeyVersions versions = versions_of(context);
    const auto told = context.run(versions.promote(id, arguments.version));
    // What is current is not known: a ticket might undo what others have done by then.
    if (!told) return keys.failed(id, told.error());
    const auto why = why_not(told);
    Asked asked = Asked::kNot;
    Ticket ticket;
    ticket.kind = Ticket::Kind::kPromote;
    ticket.id = id;
    ticket.version = arguments.version;
    ticket.from = why ? told->current : 0;
    const auto token = random_token(context.backends->random());
    if (!token) return keys.failed(id, token.error());
    ticket.token = *token;
    if (!why || may_be_done_later(*why)) asked = telling.ask(context, std::move(ticket), !why);
    Json more = Json::object();
    telling.tell(more, *token, asked);
    const Own own =
        answer(keys, id, *told, asked == Asked::kPut && why ? kPromotedLater : "", more);
    telling.count(keys, id, *token, own, asked);
  };
  return for_each_id({arguments.id}, common, Makes::kNothing, output, promote, nullptr,
                     [&](KeyAnswers& keys, CommandContext&) { telling.finish(keys); });
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
