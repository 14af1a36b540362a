// How a command that does the same to several keys answers: one line or one JSON object for each,
// errors beside them, and the exit code for all.
//
// Thread-safety: one thread. Ownership: refers to the context and the output. Blocking: at its
// making, on the user database. Errors: told, and counted.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/cli/output.h"
#include "fs/daemon/exit_code.h"
#include "kms/regions.h"

namespace keyfs {

nlohmann::ordered_json to_json(const std::vector<RegionFailure>& failures);
// "a: is down; b: timed out"
std::string text_of(const std::vector<RegionFailure>& failures);

// This user has no access to state_dir, and has done what they could. A file system that nobody can
// write to is no such case.
bool without_access(const Error& why, const std::string& state_dir);

// Whether the user may do `verb` to all of these keys, or, if there are none, to every key. Otherwise
// tells which not.
bool may_administer(const std::vector<std::string>& ids, std::string_view verb,
                    const Policy& policy, Output& output);

class KeyAnswers {
 public:
  using Json = nlohmann::ordered_json;

  KeyAnswers(CommandContext& context, Output& output);

  // False, after failed(), unless the policy lets the user do `verb`, for which `entries` of a
  // section must name them.
  bool permitted(const std::string& id, std::string_view verb, std::string_view entries,
                 bool Permission::*what);
  // False, after a message, if this host will not remember the change. `is`: what the key is in the
  // store now, "disabled" or "at version 3".
  bool noted(const std::string& id, std::string_view is, const std::optional<Error>& why_not,
             Json& json);
  // The same; but a user without access to state_dir has done what they could.
  bool noted_if_possible(const std::string& id, std::string_view is,
                         const std::optional<Error>& why_not, Json& json);

  void report(const std::string& id, const std::string& line, Json json);
  void failed(const std::string& id, const Error& error);
  // With more to tell than an error: `json` gets "error" and "reason".
  void failed(const std::string& id, const Error& error, Json json);
  // The same, not counted: what comes of it is not known yet.
  void failed_for_now(const std::string& id, const Error& error, Json json);
  // More to tell of a key that was reported, or has failed; and of all keys together. JSON only.
  void add(const std::string& id, const std::string& field, Json value);
  void add(const std::string& field, Json value) { more_[field] = std::move(value); }

  // How the keys are counted; failed() does that itself.
  void done() { tally_.done(); }
  void partial() { tally_.partial(); }
  bool any_done() const { return tally_.any_done(); }
  void undone() { tally_.failed(); }

  ExitCode finish();

 private:
  CommandContext& context_;
  Output& output_;
  const RootsStateDir new_state_dir_;
  const User user_ = invoking_user();
  Tally tally_;
  Json keys_ = Json::array();
  Json more_ = Json::object();
};

// Opens the context, has `act` do something with each of the valid `ids`, `last` what is to be done
// for all of them together, and `end` what is left to do once the answer was given.
ExitCode for_each_id(
    const std::vector<std::string>& ids, const CommonArguments& common, Makes makes, Output& output,
    const std::function<void(KeyAnswers&, CommandContext&, const std::string& id)>& act,
    const std::function<void()>& end = nullptr,
    const std::function<void(KeyAnswers&, CommandContext&)>& last = nullptr);

}  // namespace keyfs
