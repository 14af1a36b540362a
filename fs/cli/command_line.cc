#include "fs/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "base/config.h"
#include "kms/signing/key_types.h"
#include "store/record.h"

namespace keyfs {
namespace {

// Those that have commands of their own.
constexpr const char* kRotation = "rotation";
constexpr const char* kSign = "sign";

// Nothing but digits, in a range.
CLI::Validator number_from(uint32_t least, uint32_t most, const std::string& what) {
  const std::string range = std::to_string(least) + " to " + std::to_string(most);
  return {[=](std::string& typed) -> std::string {
            uint32_t number = 0;
            const char* end = typed.data() + typed.size();
            const auto [rest, error] = std::from_chars(typed.data(), end, number);
            const bool fits =
                error == std::errc() && rest == end && number >= least && number <= most;
            return fits ? "" : "must be " + what + ", " + range + ", not " + typed;
          },
          range};
}

// The sizes that a record can have; key_bytes in the configuration ends at 1024.
CLI::Validator key_size() { return number_from(kMinKeyBytes, kMaxKeyBytes, "a number of bytes"); }

CLI::Validator version_number() {
  return number_from(1, std::numeric_limits<uint32_t>::max(), "the number of a version");
}

// "EC_P256"
CLI::Validator signing_type() {
  std::string types;
  for (const SigningKeyType type : kSigningKeyTypes) {
    types += (types.empty() ? "" : ", ") + std::string(to_string(type));
  }
  return {[types](std::string& typed) -> std::string {
            return parse_signing_key_type(typed) ? ""
                                                 : "must be one of " + types + ", not " + typed;
          },
          ""};
}

// Declares the commands. The one that was typed puts its arguments into `line`.
class Grammar {
 public:
  explicit Grammar(CommandLine& line) : line_(line) {
    app_.name("keyfs");
    app_.require_subcommand(1);
    app_.set_version_flag("-V,--version", "");
    add_mount();
    add_check();
    add_explain();
    add_keys();
    add_versions();
    add_heal();
    add_rewrap();
    add_rotation();
    add_sign();
    add_rest();
  }

  CLI::App& app() { return app_; }

 private:
  template <class Arguments>
  std::pair<CLI::App*, Arguments*> command(const std::string& name, const std::string& what,
                                           CLI::App* group = nullptr) {
    CLI::App* sub = (group == nullptr ? &app_ : group)->add_subcommand(name, what);
    auto arguments = std::make_shared<Arguments>();
    sub->callback([this, arguments] { line_.command = std::move(*arguments); });
    return {sub, arguments.get()};
  }

  void add_common(CLI::App* sub, bool config) {
    if (config) {
      auto* file = sub->add_option("-c,--config", line_.common.config, "configuration")
                       ->type_name("FILE")
                       ->default_str(kDefaultConfig);
      sub->add_option(
             "--embedded", line_.common.embedded,
             "no configuration: SQLite and three local regions under DIR, created on first use")
          ->type_name("DIR")
          ->excludes(file);
    }
    sub->add_flag("--json", line_.common.json, "answer in JSON");
  }

  void add_mount() {
    auto [sub, arguments] = command<MountArguments>("mount", "mount keys as files");
    add_common(sub, true);
    sub->add_flag("-f,--foreground", arguments->foreground,
                  "stay in the foreground, log to stderr");
    sub->add_option_function<std::vector<std::string>>(
           "-o",
           [arguments = arguments](const std::vector<std::string>& all) {
             for (const auto& some : all)
               arguments->options += (arguments->options.empty() ? "" : ",") + some;
           },
           "mount options, comma separated: allow_other, fsname=NAME...")
        ->type_name("OPTIONS");
    sub->add_option("mountpoint", arguments->mountpoint, "a directory")->required()->type_name("");
  }

  void add_check() {
    auto [sub, arguments] =
        command<CheckArguments>("check", "check the configuration, the store and each region");
    add_common(sub, true);
    sub->add_flag("--create-table", arguments->create_table,
                  "create the DynamoDB table if it does not exist");
    sub->add_flag("--accept-store", arguments->accept_store,
                  "forget which store this host has used, and accept the configured one");
  }

  void add_explain() {
    auto [sub, arguments] =
        command<ExplainArguments>("explain",
                                  "show which line decides who may read a key; without ID, the "
                                  "configuration in force");
    add_common(sub, true);
    sub->add_option("id", arguments->id, "a key's id")->type_name("");
    sub->add_option("-u,--user", arguments->user,
                    "for this user (name or number); default: the caller")
        ->type_name("NAME");
  }

  void add_keys() {
    {
      auto [sub, arguments] = command<ListArguments>("list", "list keys");
      add_common(sub, true);
      sub->add_option("glob", arguments->glob, "only ids that match, e.g. 'payments-*'")
          ->type_name("");
    }
    {
      auto [sub, arguments] = command<DescribeArguments>("describe", "show what is known of keys");
      add_common(sub, true);
      add_ids(sub, arguments->ids, true);
    }
    {
      auto [sub, arguments] =
          command<CreateArguments>("create", "create keys; existing ones are left unchanged");
      add_common(sub, true);
      sub->add_option("--bytes", arguments->bytes,
                      "size of the new keys; default: key_bytes of the configuration")
          ->type_name("N")
          ->check(key_size());
      add_ids(sub, arguments->ids, true);
    }
    add_state("disable", "stop serving keys until they are enabled again",
              SetStateArguments::Verb::kDisable);
    add_state("enable", "serve disabled keys again", SetStateArguments::Verb::kEnable);
    add_state("delete", "permanently remove all wrapped copies of keys; their ids are not reused",
              SetStateArguments::Verb::kDelete);
  }

  void add_versions() {
    {
      auto [sub, arguments] = command<RotateArguments>(
          "rotate", "make a new version of keys and serve it; old versions stay readable");
      add_common(sub, true);
      auto* hold = sub->add_flag("--hold", arguments->hold,
                                 "make and test it only; keyfs promote serves it");
      add_wait(sub, arguments->wait)->excludes(hold);
      sub->add_option("--token", arguments->token,
                      "names this rotation: the same one again makes no second version")
          ->type_name("NAME");
      add_ids(sub, arguments->ids, true);
    }
    {
      auto [sub, arguments] =
          command<PromoteArguments>("promote", "make a held or an older version the current one");
      add_common(sub, true);
      add_wait(sub, arguments->wait);
      add_id(sub, arguments->id);
      sub->add_option("version", arguments->version, "the version's number")
          ->required()
          ->type_name("")
          ->check(version_number());
    }
    {
      auto [sub, arguments] =
          command<RetireArguments>("retire", "refuse old versions of a key; reversible");
      add_common(sub, true);
      sub->add_option("--below", arguments->below, "lower versions are refused, others are not")
          ->required()
          ->type_name("N")
          ->check(version_number());
      add_id(sub, arguments->id);
    }
    {
      auto [sub, arguments] = command<DestroyArguments>(
          "destroy", "permanently remove all wrapped copies of retired versions");
      add_common(sub, true);
      sub->add_flag("--yes", arguments->yes, "confirm: nothing brings the versions back");
      add_id(sub, arguments->id);
      sub->add_option("versions", arguments->versions, "the versions' numbers")
          ->required()
          ->type_name("")
          ->check(version_number());
    }
  }

  void add_heal() {
    auto [sub, arguments] =
        command<HealArguments>("heal", "wrap keys in the regions where they are missing");
    add_common(sub, true);
    sub->add_flag("--adopt", arguments->adopt, "also convert records that RKMS wrote");
    add_ids(sub, arguments->ids, false);
  }

  void add_rewrap() {
    auto [sub, arguments] = command<RewrapArguments>(
        "rewrap", "wrap all versions of keys anew under today's masters and regions");
    add_common(sub, true);
    sub->add_option("--older-than", arguments->older_than,
                    "also where it was wrapped before: 2026-01-31, or 2026-01-31T12:00:00Z")
        ->type_name("DATE");
    sub->add_option("--drop", arguments->drop, "remove the wraps of a region")->type_name("REGION");
    sub->add_flag("--dry-run", arguments->dry_run, "count what would be done, and its price");
    add_ids(sub, arguments->ids, false);
  }

  void add_rotation() {
    using Verb = RotationArguments::Verb;
    CLI::App* group = app_.add_subcommand(
        kRotation, "look at runs that tell consumers of new versions, and steer them");
    group->require_subcommand(1);
    const auto add = [&](const std::string& name, const std::string& what, Verb verb) {
      auto [sub, arguments] = command<RotationArguments>(name, what, group);
      arguments->verb = verb;
      add_common(sub, true);
      return std::pair(sub, arguments);
    };
    {
      auto [sub, arguments] = add("list", "list runs, the newest first", Verb::kList);
      sub->add_option("--limit", arguments->limit, "at most so many; default: 20")
          ->type_name("N")
          ->check(number_from(1, 10'000, "a number of runs"));
    }
    {
      auto [sub, arguments] = add("show", "show what became of a run", Verb::kShow);
      sub->add_flag("--watch", arguments->watch, "follow it until it has ended");
      sub->add_flag("--all", arguments->all, "also show the consumers that are well");
      sub->add_option("run", arguments->run, "a run; default: the newest")->type_name("");
    }
    {
      auto [sub, arguments] =
          add("retry", "do again what failed in a run, was not tried or is unknown", Verb::kRetry);
      sub->add_flag("--watch,--wait", arguments->watch, "follow it until it has ended");
      add_run(sub, arguments->run);
    }
    {
      auto [sub, arguments] =
          add("done", "mark a consumer, or a host that was not heard from, as done by hand",
              Verb::kDone);
      sub->add_option("--host", arguments->host, "on this host only; default: on every one")
          ->type_name("HOST");
      add_run(sub, arguments->run);
      sub->add_option("consumer", arguments->consumer,
                      "its name; with --host only: that host, which was not heard from")
          ->type_name("");
    }
    {
      auto [sub, arguments] = add("stop", "tell no further consumers in a run", Verb::kStop);
      add_run(sub, arguments->run);
    }
  }

  void add_sign() {
    using Verb = SignArguments::Verb;
    CLI::App* group = app_.add_subcommand(
        kSign, "make signing keys and look after them; they sign through .keyfs/sign");
    group->require_subcommand(1);
    const auto add = [&](const std::string& name, const std::string& what, Verb verb) {
      auto [sub, arguments] = command<SignArguments>(name, what, group);
      arguments->verb = verb;
      add_common(sub, true);
      if (verb != Verb::kList) {
        sub->add_option("id", arguments->ids, "signing keys' ids")->required()->type_name("");
      }
      return std::pair(sub, arguments);
    };
    {
      auto [sub, arguments] = add("create", "make signing keys, under new ids", Verb::kCreate);
      sub->add_option("--type", arguments->type, "EC_P256, EC_P384, RSA_2048 or RSA_4096")
          ->required()
          ->type_name("TYPE")
          ->check(signing_type());
      sub->add_option("--custody", arguments->custody,
                      "kms: the key never leaves AWS KMS; wrapped: kept like a data key; default: "
                      "custody of [signing]")
          ->type_name("KIND")
          ->check(CLI::IsMember({"kms", "wrapped"}));
    }
    add("list", "list signing keys", Verb::kList);
    add("describe", "show what is known of signing keys, and who may use them", Verb::kDescribe);
    {
      auto [sub, arguments] =
          add("rotate",
              "put new keys in the place of signing keys; the old ones are deleted "
              "after a grace time",
              Verb::kRotate);
      sub->add_option("--type", arguments->type, "of the new keys; default: as before")
          ->type_name("TYPE")
          ->check(signing_type());
    }
    add("disable", "sign no more until enabled again", Verb::kDisable);
    add("enable", "sign again with disabled keys", Verb::kEnable);
    auto [sub, arguments] =
        add("delete", "delete signing keys: nothing signs with them again", Verb::kDelete);
    sub->add_flag("--yes", arguments->yes, "confirm: nothing brings the keys back");
  }

  void add_rest() {
    auto [sub, arguments] = command<StatusArguments>("status", "show the state of a mounted keyfs");
    add_common(sub, false);
    sub->add_option("mountpoint", arguments->mountpoint,
                    "default: every keyfs mounted on this host")
        ->type_name("");
    auto [version, none] = command<VersionArguments>("version", "print the version");
    (void)none;
    add_common(version, false);
  }

  void add_state(const std::string& name, const std::string& what, SetStateArguments::Verb verb) {
    auto [sub, arguments] = command<SetStateArguments>(name, what);
    arguments->verb = verb;
    add_common(sub, true);
    if (verb == SetStateArguments::Verb::kDelete) {
      sub->add_flag("--yes", arguments->yes, "confirm: nothing brings the keys back");
    }
    add_ids(sub, arguments->ids, true);
  }

  static CLI::Option* add_wait(CLI::App* sub, bool& wait) {
    return sub->add_flag("--wait", wait, "wait until the run that tells the consumers has ended");
  }

  static void add_run(CLI::App* sub, std::string& run) {
    sub->add_option("run", run, "a run, such as run-00000012")->required()->type_name("");
  }

  static void add_id(CLI::App* sub, std::string& id) {
    sub->add_option("id", id, "a key's id")->required()->type_name("");
  }

  static void add_ids(CLI::App* sub, std::vector<std::string>& ids, bool required) {
    sub->add_option("id", ids, required ? "key ids" : "key ids; default: all")
        ->required(required)
        ->type_name("");
  }

  CommandLine& line_;
  CLI::App app_{"keyfs mounts data keys as files."};
};

// CLI11 would only report that a command is missing. `before`: what was typed before `word`,
// "keyfs" or "keyfs rotation".
Result<void> check_command(const CLI::App& app, const std::string& before,
                           const std::string& word) {
  if (word.empty()) return {};
  const bool group = before != "keyfs";
  if (word[0] == '-') {
    for (const char* own : {"-h", "--help", "-V", "--version"}) {
      if (word == own) return {};
    }
    return fail(Code::kInvalid, "options go after the command: " + before + " COMMAND " + word +
                                    " ... (see " + before + " --help)");
  }
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  if (std::find(names.begin(), names.end(), word) != names.end()) return {};
  const std::vector<std::string_view> views(names.begin(), names.end());
  const auto near = nearest_name(word, views);
  return fail(
      Code::kInvalid,
      "there is no command " + (group ? before.substr(before.find(' ') + 1) + " " : "") + word +
          (near ? " (did you mean " + std::string(*near) + "?)" : " (see " + before + " --help)"));
}

// "keyfs rotation show": the commands that were typed, as far as they were understood.
std::string typed_commands(const CLI::App& app) {
  std::string text = "keyfs";
  const CLI::App* last = &app;
  for (auto typed = last->get_subcommands(); !typed.empty(); typed = last->get_subcommands()) {
    last = typed.front();
    text += " " + last->get_name();
  }
  return text;
}

// CLI11 would take the next argument as the value of --token=, and "--token ''" for no --token: a
// shell's variable that is not set must not change what a command works on.
Result<void> check_not_empty(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--") return {};
    if (word.empty()) return fail(Code::kInvalid, "an argument is empty; nothing was done");
    if (word.starts_with("--") && word.ends_with('=')) {
      return fail(Code::kInvalid, std::string(word) + ": its value is empty; nothing was done");
    }
  }
  return {};
}

}  // namespace

Result<CommandLine> parse_command_line(int argc, const char* const* argv) {
  CommandLine line;
  Grammar grammar(line);
  CLI::App& app = grammar.app();
  const std::string first = argc > 1 ? argv[1] : "";
  auto known = check_command(app, "keyfs", first);
  if (known && (first == kRotation || first == kSign)) {
    known = check_command(*app.get_subcommand(first), "keyfs " + first, argc > 2 ? argv[2] : "");
  }
  if (!known) return fail(known.error());
  if (auto given = check_not_empty(argc, argv); !given) return fail(given.error());
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    line.command = HelpArguments{app.help()};  // of the command that was typed, if one was
  } catch (const CLI::CallForVersion&) {
    line.command = VersionArguments{};
  } catch (const CLI::ParseError& error) {
    std::string message = error.what();
    for (char& c : message) {
      if (c == '\n') c = ' ';
    }
    return fail(Code::kInvalid, message + " (see " + typed_commands(app) + " --help)");
  }
  const auto* rotation = std::get_if<RotationArguments>(&line.command);
  if (rotation != nullptr && rotation->verb == RotationArguments::Verb::kDone &&
      rotation->consumer.empty() && rotation->host.empty()) {
    return fail(Code::kInvalid,
                "a consumer is required, or --host (see keyfs rotation done --help)");
  }
  return line;
}

}  // namespace keyfs
