// keyfs sign create, list, describe, rotate, disable, enable, delete.
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "fs/cli/commands.h"
#include "fs/cli/key_answers.h"
#include "fs/cli/sign_output.h"
#include "fs/cli/sign_parts.h"

namespace keyfs {
namespace {

using SignVerb = SignArguments::Verb;
using SignJson = nlohmann::ordered_json;

// What was begun and can be ended now, such as the deletion of a key that lost its name.
constexpr std::chrono::seconds kSettle{10};

Error no_such_signing_key(const std::string& id) {
  return {Code::kInvalid, "there is no signing key " + id + "; keyfs sign create makes it"};
}

std::string until(const CommandContext& context) {
  return to_rfc3339(context.clock.wall() + std::chrono::duration_cast<WallTime::duration>(
                                               context.configuration.signing.grace));
}

class SignCommand {
 public:
  SignCommand(KeyAnswers& answers, CommandContext& context, Output& output)
      : answers_(answers), context_(context), output_(output), parts_(context) {}

  void describe(const std::string& id) {
    const SignPermission permission = parts_.permission(id);
    if (!permission.see) return refuse(id, permission, "describe", "use, see or admin");
    auto found = parts_.find(id);
    if (!found) return answers_.failed(id, found.error());
    if (!*found) return absent(id);
    if (output_.json()) {
      answers_.report(id, "", signing_key_json(**found, permission));
    } else {
      print(**found, permission, parts_.user(), output_.out());
    }
    (*found)->state() == "unknown" ? answers_.partial() : answers_.done();
  }

  void create(const std::string& id, const SignArguments& arguments) {
    const SignPermission permission = parts_.permission(id);
    if (!permission.create) return refuse(id, permission, "create", "create or admin");
    auto keys = parts_.keys();
    if (!keys) return answers_.failed(id, keys.error());
    GenerateRequest request(id, parse_signing_key_type(arguments.type), arguments.custody,
                            GenerateRequest::Mode::kCreate, parts_.deadline());
    const auto made = context_.run((*keys)->generate(std::move(request)));
    if (!made) return answers_.failed(id, made.error());
    const SigningKey& key = **made;
    answers_.report(id,
                    "created, " + arguments.type + ", custody " + key.custody + ", fingerprint " +
                        key.public_key->fingerprint(),
                    about(key));
    answers_.done();
  }

  void rotate(const std::string& id, const SignArguments& arguments) {
    if (!may_administer(id, "rotate")) return;
    auto keys = parts_.keys();
    if (!keys) return answers_.failed(id, keys.error());
    const auto old = context_.run((*keys)->resolve(id, parts_.deadline()));
    if (!old) return answers_.failed(id, old.error());
    if (*old == nullptr) return absent(id);
    std::optional<SigningKeyType> type;
    if (!arguments.type.empty()) type = parse_signing_key_type(arguments.type);
    GenerateRequest request(id, type, "", GenerateRequest::Mode::kRotate, parts_.deadline());
    const auto made = context_.run((*keys)->generate(std::move(request)));
    if (!made) return answers_.failed(id, made.error());
    const std::string before =
        (*old)->public_key == nullptr ? "unknown" : (*old)->public_key->fingerprint();
    const std::string ends = until(context_);
    SignJson json = about(**made);
    json["before"] = before;
    json["old_signs_until"] = ends;
    answers_.report(id,
                    "rotated, fingerprint " + (*made)->public_key->fingerprint() +
                        "; the old key " + before + " is deleted after " + ends,
                    std::move(json));
    answers_.done();
  }

  void set_enabled(const std::string& id, bool enabled) {
    if (!may_administer(id, enabled ? "enable" : "disable")) return;
    auto keys = parts_.keys();
    if (!keys) return set_enabled_at_least(id, enabled, keys.error());
    const auto set = context_.run((*keys)->set_enabled(id, enabled, parts_.deadline()));
    if (!set) return answers_.failed(id, set.error());
    if (*set == nullptr) return absent(id);
    answers_.report(id, enabled ? "enabled" : "disabled", about(**set));
    answers_.done();
  }

  void remove(const std::string& id) {
    if (!may_administer(id, "delete")) return;
    auto keys = parts_.keys();
    if (!keys) return answers_.failed(id, keys.error());
    const auto removed = context_.run((*keys)->remove(id, parts_.deadline()));
    if (!removed) return answers_.failed(id, removed.error());
    if (!*removed) return absent(id);
    answers_.report(id, "deleted", {{"id", id}, {"state", "deleted"}});
    answers_.done();
  }

  // Works off what is due, and says who does the rest.
  void settle() {
    SigningKeys* keys = parts_.open_keys();
    if (keys == nullptr) return;
    const bool settled = context_.run(keys->settle(context_.clock.now() + kSettle));
    const SigningStatus status = keys->status();
    answers_.add("queued_deletions", status.queued_deletions);
    answers_.add("unfinished", status.unfinished);
    if (!settled) {
      if (answers_.any_done()) answers_.partial();
      output_.error(
          "something is left to do: " +
          (status.deletion_trouble.empty() ? status.last_error : status.deletion_trouble) +
          "; a keyfs that runs on this host, or the next keyfs sign command that changes a key, "
          "tries again");
    } else if (status.queued_deletions != 0 && !output_.json()) {
      output_.out() << status.queued_deletions
                    << (status.queued_deletions == 1 ? " old key waits" : " old keys wait")
                    << " for the end of grace: a keyfs that runs on this host, or the next keyfs "
                       "sign command that changes a key after that, deletes "
                    << (status.queued_deletions == 1 ? "it\n" : "them\n");
    }
  }

 private:
  // Where this host's state_dir can't be used.
  void set_enabled_at_least(const std::string& id, bool enabled, const Error& why) {
    const auto set = parts_.set_enabled(id, enabled);
    if (!set) return answers_.failed(id, set.error());
    if (!*set) return absent(id);
    const NamedSigningKey& key = **set;
    const std::string state = enabled ? "enabled" : "disabled";
    SignJson json = {{"id", id}, {"custody", key.custody}, {"key", key.named.key}};
    json["state"] = state;
    answers_.noted(id, state, why, json);
    answers_.report(id, state, std::move(json));
    answers_.partial();
  }

  static SignJson about(const SigningKey& key) {
    SignJson json = {{"id", key.id},
                     {"custody", key.custody},
                     {"key", key.key},
                     {"state", key.disabled ? "disabled" : "enabled"}};
    if (key.public_key != nullptr) {
      json["type"] = to_string(key.public_key->type());
      json["fingerprint"] = key.public_key->fingerprint();
    }
    return json;
  }

  bool may_administer(const std::string& id, std::string_view verb) {
    const SignPermission permission = parts_.permission(id);
    if (!permission.administer) refuse(id, permission, verb, "admin");
    return permission.administer;
  }
  void refuse(const std::string& id, const SignPermission& permission, std::string_view verb,
              std::string_view entries) {
    answers_.failed(id, parts_.refusal(permission, verb, id, entries));
  }
  void absent(const std::string& id) {
    answers_.failed(id, no_such_signing_key(id));
    answers_.add(id, "error", "absent");
  }

  KeyAnswers& answers_;
  CommandContext& context_;
  Output& output_;
  SignParts parts_;
};

ExitCode list_signing_keys(const CommonArguments& common, Output& output) {
  auto context = CommandContext::open(common, output);
  if (!context) {
    output.error(context.error().message);
    return exit_code_for(context.error());
  }
  SignParts parts(**context);
  const auto keys = parts.list();
  if (!keys) {
    output.error(keys.error().message);
    return exit_code_for(keys.error());
  }
  bool known = true;
  SignJson all = SignJson::array();
  for (const NamedSigningKey& key : *keys) {
    known = known && key.state() != "unknown";
    all.push_back(signing_key_json(key));
  }
  if (output.json()) {
    output.write({{"keys", all}});
  } else {
    print(*keys, output.out());
  }
  return known ? ExitCode::kDone : ExitCode::kPartial;
}

void act(SignCommand& command, const SignArguments& arguments, const std::string& id) {
  switch (arguments.verb) {
    case SignVerb::kCreate:
      return command.create(id, arguments);
    case SignVerb::kDescribe:
      return command.describe(id);
    case SignVerb::kRotate:
      return command.rotate(id, arguments);
    case SignVerb::kDisable:
    case SignVerb::kEnable:
      return command.set_enabled(id, arguments.verb == SignVerb::kEnable);
    case SignVerb::kDelete:
      return command.remove(id);
    case SignVerb::kList:
      break;
  }
}

}  // namespace

ExitCode run_sign(const SignArguments& arguments, const CommonArguments& common, Output& output) {
  if (arguments.verb == SignVerb::kList) return list_signing_keys(common, output);
  if (arguments.verb == SignVerb::kDelete && !arguments.yes) {
    output.error("nothing was done: delete ends " + Output::printable(joined(arguments.ids)) +
                 ", and nothing signs with it again. If this is intended, add --yes; to stop "
                 "signing reversibly, use keyfs sign disable");
    return ExitCode::kUsage;
  }
  const Makes makes = arguments.verb == SignVerb::kCreate ? Makes::kAll : Makes::kNothing;
  std::optional<SignCommand> command;
  return for_each_id(
      arguments.ids, common, makes, output,
      [&](KeyAnswers& answers, CommandContext& context, const std::string& id) {
        if (!command) command.emplace(answers, context, output);
        act(*command, arguments, id);
      },
      nullptr,
      [&](KeyAnswers&, CommandContext&) {
        if (command) command->settle();
        command.reset();  // before the context
      });
}

}  // namespace keyfs
