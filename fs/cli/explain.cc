// keyfs explain, keyfs version.
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/clock.h"
#include "base/http.h"
#include "fs/cli/caller.h"
#include "fs/cli/commands.h"
#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

ExitCode explain_configuration(const Configuration& configuration, Output& output) {
  const std::string text = effective_text(configuration);
  if (output.json()) {
    output.write({{"file", configuration.file.name()}, {"text", text}});
  } else {
    output.out() << text;
  }
  return ExitCode::kDone;
}

// null: the section has no such list.
Json line_of(const Principals& list) { return list.line == 0 ? Json() : Json(list.line); }

Json describe(const Policy& policy, const Decision& decision, std::string_view id,
              const User& user) {
  const PolicySection& section = *decision.section;
  Json answer = {
      {"id", id}, {"user", user.name}, {"uid", user.caller.uid}, {"gid", user.caller.gid}};
  answer["groups"] = user.groups;
  answer["hidden"] = section.hidden;
  answer["read"] = decision.read;
  const bool never = policy.never_creates(id);
  answer["create"] = decision.create && !never;
  answer["never_create"] = never;
  answer["admin"] = decision.admin;
  if (!section.hidden) {
    const auto seconds = [](const auto& time) {
      return time ? Json(std::chrono::duration<double>(*time).count()) : Json();
    };
    answer["rotate_every_seconds"] = seconds(section.rotate_every);
    answer["retire_after_seconds"] = seconds(section.retire_after);
    answer["section"] = section.title;
    answer["file"] = section.file;
    if (section.line == 0) {  // no file that could be looked at
      answer["line"] = Json();
    } else {
      answer["line"] = section.line;
      answer["lines"] = {{"read", line_of(section.read)},
                         {"create", line_of(section.create)},
                         {"admin", line_of(section.admin)}};
    }
  }
  return answer;
}

// As a signing key, for which a right to the data key of that name is none. null: it is hidden.
Json describe_signing(const Policy& policy, std::string_view id, const User& user) {
  const SignSection& section = policy.sign_section_for(id);
  if (section.hidden) return nullptr;
  KnownGroups groups(user.groups);
  const SignDecision decision = section.decide(user.caller, groups);
  Json answer = {{"use", decision.use},
                 {"see", decision.see},
                 {"create", decision.create},
                 {"admin", decision.admin}};
  answer["algorithms"] = section.algorithms_text.empty() ? Json() : Json(section.algorithms_text);
  answer["rate"] = section.rate_text.empty() ? Json() : Json(section.rate_text);
  answer["section"] = section.title;
  answer["file"] = section.file;
  answer["line"] = section.line == 0 ? Json() : Json(section.line);
  return answer;
}

}  // namespace

ExitCode run_explain(const ExplainArguments& arguments, const CommonArguments& common,
                     Output& output) {
  const bool about_a_key = !arguments.id.empty();
  if (about_a_key && !are_key_ids({arguments.id}, output)) return ExitCode::kUsage;
  if (!about_a_key && !arguments.user.empty()) {
    output.error("--user is about one key: keyfs explain ID --user NAME");
    return ExitCode::kUsage;
  }
  const auto configuration = load_configuration(common);
  if (!configuration) {
    output.error(configuration.error().message);
    return exit_code_for(configuration.error());
  }
  CurlGlobal curl;
  const SystemClock clock;
  if (const auto good = Backends::check(*configuration, curl, clock); !good) {
    output.error(good.error().message);
    return exit_code_for(good.error());
  }
  if (!about_a_key) return explain_configuration(*configuration, output);
  User user = invoking_user();
  if (!arguments.user.empty()) {
    auto found = find_user(arguments.user);
    if (!found) {
      output.error(found.error().message);
      return ExitCode::kUsage;
    }
    user = std::move(*found);
  }
  const Policy& policy = *configuration->policy;
  KnownGroups groups(user.groups);
  if (output.json()) {
    const Decision decision = policy.decide(arguments.id, user.caller, groups);
    Json answer = describe(policy, decision, arguments.id, user);
    answer["sign"] = describe_signing(policy, arguments.id, user);
    output.write(answer);
  } else {
    output.out() << "user " << user.text() << '\n'
                 << policy.explain(arguments.id, user.caller, groups);
  }
  return ExitCode::kDone;
}

ExitCode run_version(Output& output) {
  if (output.json()) {
    output.write({{"version", KEYFS_VERSION}});
  } else {
    output.out() << "keyfs " << KEYFS_VERSION << '\n';
  }
  return ExitCode::kDone;
}

}  // namespace keyfs
