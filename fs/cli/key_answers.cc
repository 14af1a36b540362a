#include "fs/cli/key_answers.h"

#include <unistd.h>

#include <cerrno>
#include <ostream>
#include <utility>

#include "fs/upkeep/record_changes.h"

namespace keyfs {

nlohmann::ordered_json to_json(const std::vector<RegionFailure>& failures) {
  auto all = nlohmann::ordered_json::array();
  for (const auto& failure : failures) {
    all.push_back({{"region", failure.region},
                   {"code", to_string(failure.error.code)},
                   {"reason", failure.error.message}});
  }
  return all;
}

std::string text_of(const std::vector<RegionFailure>& failures) {
  std::vector<std::string> all;
  for (const auto& failure : failures) all.push_back(failure.region + ": " + failure.error.message);
  return joined(all, "; ");
}

bool without_access(const Error& why, const std::string& state_dir) {
  return why.code == Code::kDenied && (::access(state_dir.c_str(), W_OK) == 0 || errno != EROFS);
}

bool may_administer(const std::vector<std::string>& ids, std::string_view verb,
                    const Policy& policy, Output& output) {
  const User user = invoking_user();
  if (ids.empty()) {
    KnownGroups groups(user.groups);
    if (policy.is_admin(user.caller, groups)) return true;
    output.error(user.text() + " may not " + std::string(verb) +
                 " all keys: [admin] does not name them in read");
    return false;
  }
  bool all = true;
  for (const auto& id : ids) {
    const Permission permission = permission_for(policy, id, user);
    if (permission.administer) continue;
    output.error(refusal(permission, user, verb, id, "admin").message);
    all = false;
  }
  return all;
}

KeyAnswers::KeyAnswers(CommandContext& context, Output& output)
    : context_(context),
      output_(output),
      new_state_dir_(
          context.configuration.embedded.empty() ? context.configuration.settings.state_dir : "") {}

bool KeyAnswers::permitted(const std::string& id, std::string_view verb, std::string_view entries,
                           bool Permission::*what) {
  const Permission permission = permission_for(*context_.configuration.policy, id, user_);
  if (permission.*what) return true;
  failed(id, refusal(permission, user_, verb, id, entries));
  return false;
}

bool KeyAnswers::noted(const std::string& id, std::string_view is,
                       const std::optional<Error>& why_not, Json& json) {
  if (!why_not) return true;
  output_.error(id + " is " + std::string(is) +
                " in the store, but this host could not record the change, so it would not notice "
                "if the store reverted it: " +
                why_not->message);
  json["not_noted"] = why_not->message;
  return false;
}

bool KeyAnswers::noted_if_possible(const std::string& id, std::string_view is,
                                   const std::optional<Error>& why_not, Json& json) {
  return noted(id, is, why_not, json) ||
         without_access(*why_not, context_.configuration.settings.state_dir);
}

void KeyAnswers::report(const std::string& id, const std::string& line, Json json) {
  if (output_.json()) {
    keys_.push_back(std::move(json));
  } else {
    output_.out() << id << ": " << line << '\n';
  }
}

void KeyAnswers::failed(const std::string& id, const Error& error) {
  failed(id, error, {{"id", id}});
}

void KeyAnswers::failed(const std::string& id, const Error& error, Json json) {
  failed_for_now(id, error, std::move(json));
  tally_.failed();
}

void KeyAnswers::failed_for_now(const std::string& id, const Error& error, Json json) {
  output_.error(error.message);
  json["error"] = word_of(error, id);
  json["reason"] = error.message;
  keys_.push_back(std::move(json));
}

void KeyAnswers::add(const std::string& id, const std::string& field, Json value) {
  for (Json& key : keys_) {
    if (key["id"] == id) key[field] = value;
  }
}

ExitCode KeyAnswers::finish() {
  if (const std::string told = new_state_dir_.told(); !told.empty()) output_.error(told);
  if (output_.json()) {
    Json document = {{"keys", keys_}};
    document.update(more_);
    output_.write(document);
  }
  return tally_.code();
}

ExitCode for_each_id(
    const std::vector<std::string>& ids, const CommonArguments& common, Makes makes, Output& output,
    const std::function<void(KeyAnswers&, CommandContext&, const std::string&)>& act,
    const std::function<void()>& end,
    const std::function<void(KeyAnswers&, CommandContext&)>& last) {
  if (!are_key_ids(ids, output)) return ExitCode::kUsage;
  auto context = CommandContext::open(common, output, makes);
  if (!context) {
    output.error(context.error().message);
    return exit_code_for(context.error());
  }
  KeyAnswers keys(**context, output);
  for (const auto& id : ids) {
    act(keys, **context, id);
    (*context)->tell_others(false, output);
  }
  if (last) last(keys, **context);
  const ExitCode code = keys.finish();
  (*context)->tell_others(true, output);
  if (end && output.out().flush()) end();
  // What was asked for is done, or said to be so, in a store that may have lost what others did.
  const std::string trouble = (*context)->backends->store().trouble();
  if (trouble.empty()) return code;
  output.error("warning: " + trouble);
  return code == ExitCode::kDone ? ExitCode::kPartial : code;
}

}  // namespace keyfs
