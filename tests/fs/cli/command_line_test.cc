#include "fs/cli/command_line.h"

#include <gtest/gtest.h>

#include <variant>
#include <vector>

namespace keyfs {
namespace {

Result<CommandLine> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "keyfs");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}

TEST(CommandLine, takes_the_configuration_after_the_command) {
  const auto line = parse({"list", "-c", "/x.ini", "--json", "pay*"});
  ASSERT_TRUE(line) << line.error().message;
  EXPECT_EQ(line->common.config, "/x.ini");
  EXPECT_TRUE(line->common.json);
  EXPECT_EQ(std::get<ListArguments>(line->command).glob, "pay*");
}

TEST(CommandLine, the_configuration_is_etc_keyfs_when_nothing_else_is_said) {
  const auto line = parse({"check"});
  ASSERT_TRUE(line);
  EXPECT_EQ(line->common.config, "/etc/keyfs/keyfs.ini");
  EXPECT_EQ(line->common.embedded, "");
}

TEST(CommandLine, a_file_and_embedded_exclude_each_other) {
  const auto line = parse({"mount", "-c", "/x.ini", "--embedded", "/d", "/mnt"});
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code, Code::kInvalid);
}

TEST(CommandLine, mount_collects_all_its_options) {
  const auto line = parse(
      {"mount", "-f", "-o", "allow_other", "-o", "fsname=a,context=b", "--embedded", "/d", "/mnt"});
  ASSERT_TRUE(line) << line.error().message;
  const auto& mount = std::get<MountArguments>(line->command);
  EXPECT_EQ(mount.options, "allow_other,fsname=a,context=b");
  EXPECT_EQ(mount.mountpoint, "/mnt");
  EXPECT_TRUE(mount.foreground);
}

TEST(CommandLine, the_verbs_of_a_state_differ) {
  using Verb = SetStateArguments::Verb;
  for (const auto& [word, verb] :
       {std::pair("disable", Verb::kDisable), std::pair("enable", Verb::kEnable),
        std::pair("delete", Verb::kDelete)}) {
    const auto line = parse({word, "a", "b"});
    ASSERT_TRUE(line) << word;
    const auto& state = std::get<SetStateArguments>(line->command);
    EXPECT_EQ(state.verb, verb) << word;
    EXPECT_EQ(state.ids, (std::vector<std::string>{"a", "b"}));
  }
}

TEST(CommandLine, a_command_waits_for_the_consumers_only_if_it_is_told_to) {
  EXPECT_FALSE(std::get<RotateArguments>(parse({"rotate", "a"})->command).wait);
  EXPECT_TRUE(std::get<RotateArguments>(parse({"rotate", "--wait", "a"})->command).wait);
  EXPECT_FALSE(std::get<PromoteArguments>(parse({"promote", "a", "2"})->command).wait);
  EXPECT_TRUE(std::get<PromoteArguments>(parse({"promote", "--wait", "a", "2"})->command).wait);
  EXPECT_FALSE(parse({"rotate", "--hold", "--wait", "a"})) << "a held version is told to nobody";
}

TEST(CommandLine, versions_are_numbers_from_1) {
  const auto rotate = parse({"rotate", "--hold", "--token", "t1", "a", "b"});
  ASSERT_TRUE(rotate) << rotate.error().message;
  const auto& rotating = std::get<RotateArguments>(rotate->command);
  EXPECT_TRUE(rotating.hold);
  EXPECT_EQ(rotating.token, "t1");
  EXPECT_EQ(rotating.ids, (std::vector<std::string>{"a", "b"}));
  const auto promote = parse({"promote", "a", "4294967295"});
  ASSERT_TRUE(promote) << promote.error().message;
  EXPECT_EQ(std::get<PromoteArguments>(promote->command).id, "a");
  EXPECT_EQ(std::get<PromoteArguments>(promote->command).version, 4294967295u);
  const auto retire = parse({"retire", "a", "--below", "3"});
  ASSERT_TRUE(retire) << retire.error().message;
  EXPECT_EQ(std::get<RetireArguments>(retire->command).id, "a");
  EXPECT_EQ(std::get<RetireArguments>(retire->command).below, 3u);
  const auto destroy = parse({"destroy", "a", "1", "2", "--yes"});
  ASSERT_TRUE(destroy) << destroy.error().message;
  const auto& destroying = std::get<DestroyArguments>(destroy->command);
  EXPECT_EQ(destroying.id, "a");
  EXPECT_EQ(destroying.versions, (std::vector<uint32_t>{1, 2}));
  EXPECT_TRUE(destroying.yes);
  for (const char* number : {"0", "-1", "1x", "4294967296", "b"}) {
    EXPECT_FALSE(parse({"promote", "a", number})) << number;
    EXPECT_FALSE(parse({"destroy", "--yes", "a", "1", number})) << number;
    EXPECT_FALSE(parse({"retire", "a", "--below", number})) << number;
  }
}

TEST(CommandLine, a_rewrap_needs_no_ids) {
  const auto all = parse({"rewrap"});
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_TRUE(std::get<RewrapArguments>(all->command).ids.empty());
  EXPECT_FALSE(std::get<RewrapArguments>(all->command).dry_run);
  const auto some =
      parse({"rewrap", "--older-than", "2026-01-31", "--drop", "us-west-2", "--dry-run", "a"});
  ASSERT_TRUE(some) << some.error().message;
  const auto& arguments = std::get<RewrapArguments>(some->command);
  EXPECT_EQ(arguments.older_than, "2026-01-31");
  EXPECT_EQ(arguments.drop, "us-west-2");
  EXPECT_TRUE(arguments.dry_run);
  EXPECT_EQ(arguments.ids, (std::vector<std::string>{"a"}));
}

TEST(CommandLine, an_empty_value_is_refused_and_takes_no_other_argument_with_it) {
  const std::vector<std::vector<const char*>> all = {
      {"rotate", "--token=", "orders", "bills"}, {"rotate", "--token", "", "orders"},
      {"rewrap", "--drop=", "orders"},           {"rewrap", "--older-than", ""},
      {"retire", "--below=", "orders"},          {"disable", ""}};
  for (const auto& words : all) {
    const auto line = parse(words);
    ASSERT_FALSE(line) << words[0] << " " << words[1];
    EXPECT_NE(line.error().message.find("empty"), std::string::npos) << line.error().message;
  }
}

TEST(CommandLine, rotation_has_commands_of_its_own) {
  using Verb = RotationArguments::Verb;
  const auto parsed = [](std::vector<const char*> words) {
    words.insert(words.begin(), "rotation");
    const auto line = parse(words);
    EXPECT_TRUE(line) << line.error().message;
    return line ? std::get<RotationArguments>(line->command) : RotationArguments();
  };
  EXPECT_EQ(parsed({"list"}).verb, Verb::kList);
  EXPECT_EQ(parsed({"list"}).limit, 20u);
  EXPECT_EQ(parsed({"list", "--limit", "5"}).limit, 5u);
  const auto newest = parsed({"show", "--watch"});
  EXPECT_EQ(newest.verb, Verb::kShow);
  EXPECT_EQ(newest.run, "");
  EXPECT_TRUE(newest.watch);
  EXPECT_FALSE(newest.all);
  const auto show = parsed({"show", "run-1", "--all"});
  EXPECT_EQ(show.run, "run-1");
  EXPECT_TRUE(show.all);
  const auto retry = parsed({"retry", "run-1"});
  EXPECT_EQ(retry.verb, Verb::kRetry);
  EXPECT_EQ(retry.run, "run-1");
  EXPECT_FALSE(retry.watch);
  EXPECT_TRUE(parsed({"retry", "run-1", "--wait"}).watch);
  const auto done = parsed({"done", "run-1", "nginx", "--host", "web-1"});
  EXPECT_EQ(done.verb, Verb::kDone);
  EXPECT_EQ(done.consumer, "nginx");
  EXPECT_EQ(done.host, "web-1");
  EXPECT_EQ(parsed({"done", "run-1", "--host", "web-1"}).consumer, "");
  EXPECT_EQ(parsed({"stop", "run-1"}).verb, Verb::kStop);
  const auto common = parse({"rotation", "show", "-c", "/x.ini", "--json"});
  ASSERT_TRUE(common) << common.error().message;
  EXPECT_EQ(common->common.config, "/x.ini");
  EXPECT_TRUE(common->common.json);
}

TEST(CommandLine, a_mistake_in_a_command_of_rotation_is_told_with_its_own_help) {
  const auto said = [](std::vector<const char*> words) {
    words.insert(words.begin(), "rotation");
    const auto line = parse(words);
    EXPECT_FALSE(line);
    return line ? std::string() : line.error().message;
  };
  EXPECT_EQ(said({"lst"}), "there is no command rotation lst (did you mean list?)");
  EXPECT_EQ(said({"frobnicate"}),
            "there is no command rotation frobnicate (see keyfs rotation --help)");
  EXPECT_NE(said({"-c", "/x.ini", "list"}).find("keyfs rotation COMMAND -c"), std::string::npos);
  EXPECT_NE(said({}).find("(see keyfs rotation --help)"), std::string::npos);
  EXPECT_NE(said({"retry"}).find("(see keyfs rotation retry --help)"), std::string::npos);
  EXPECT_NE(said({"done", "run-1"}).find("(see keyfs rotation done --help)"), std::string::npos);
  EXPECT_NE(said({"list", "--limit", "0"}).find("1 to 10000"), std::string::npos);
  EXPECT_NE(said({"stop", "a", "b"}).find("--help"), std::string::npos);
  const auto help = parse({"rotation", "show", "--help"});
  ASSERT_TRUE(help) << help.error().message;
  EXPECT_NE(std::get<HelpArguments>(help->command).text.find("--watch"), std::string::npos);
  const auto group = parse({"rotation", "--help"});
  ASSERT_TRUE(group) << group.error().message;
  for (const char* name : {"list", "show", "retry", "done", "stop"}) {
    EXPECT_NE(std::get<HelpArguments>(group->command).text.find(name), std::string::npos) << name;
  }
}

TEST(CommandLine, signing_keys_have_commands_of_their_own) {
  using Verb = SignArguments::Verb;
  const auto parsed = [](std::vector<const char*> words) {
    words.insert(words.begin(), "sign");
    const auto line = parse(words);
    EXPECT_TRUE(line) << line.error().message;
    return line ? std::get<SignArguments>(line->command) : SignArguments();
  };
  const auto create = parsed({"create", "ca", "tls", "--type", "EC_P256", "--custody", "kms"});
  EXPECT_EQ(create.verb, Verb::kCreate);
  EXPECT_EQ(create.ids, (std::vector<std::string>{"ca", "tls"}));
  EXPECT_EQ(create.type, "EC_P256");
  EXPECT_EQ(create.custody, "kms");
  EXPECT_EQ(parsed({"list"}).verb, Verb::kList);
  EXPECT_EQ(parsed({"describe", "ca"}).verb, Verb::kDescribe);
  EXPECT_EQ(parsed({"rotate", "ca"}).type, "");
  EXPECT_EQ(parsed({"rotate", "ca", "--type", "RSA_4096"}).type, "RSA_4096");
  EXPECT_EQ(parsed({"disable", "ca"}).verb, Verb::kDisable);
  EXPECT_EQ(parsed({"enable", "ca"}).verb, Verb::kEnable);
  EXPECT_FALSE(parsed({"delete", "ca"}).yes);
  EXPECT_TRUE(parsed({"delete", "ca", "--yes"}).yes);

  const auto said = [](std::vector<const char*> words) {
    words.insert(words.begin(), "sign");
    const auto line = parse(words);
    EXPECT_FALSE(line);
    return line ? std::string() : line.error().message;
  };
  EXPECT_NE(said({"create", "ca"}).find("--type"), std::string::npos);
  EXPECT_NE(said({"create", "ca", "--type", "ED25519"}).find("RSA_4096"), std::string::npos);
  EXPECT_NE(said({"create", "ca", "--type", "EC_P256", "--custody", "disk"}).find("kms"),
            std::string::npos);
  EXPECT_NE(said({"rotate"}).find("(see keyfs sign rotate --help)"), std::string::npos);
  EXPECT_EQ(said({"lst"}), "there is no command sign lst (did you mean list?)");
}

TEST(CommandLine, whatever_is_wrong_is_one_line_with_the_way_to_help) {
  const std::vector<std::vector<const char*>> wrong = {
      {},

      {"mount"},
      {"mount", "--nope", "/mnt"},
      {"describe"},
      {"create", "--bytes", "15", "a"},
      {"disable"},
      {"mount", "/a", "/b"},
      {"list", "-c"},
      {"status", "--embedded", "/d"},
      {"rotate"},
      {"promote", "a"},
      {"retire", "a"},
      {"destroy", "a", "--yes"},
  };
  for (const auto& words : wrong) {
    const auto line = parse(words);
    ASSERT_FALSE(line) << (words.empty() ? "" : words[0]);
    EXPECT_EQ(line.error().code, Code::kInvalid);
    EXPECT_EQ(line.error().message.find('\n'), std::string::npos) << line.error().message;
    EXPECT_NE(line.error().message.find("--help"), std::string::npos) << line.error().message;
  }
}

TEST(CommandLine, a_size_that_no_key_may_have_is_refused_with_the_range) {
  for (const char* size : {"0", "15", "4097", "1048576", "99999999999999999999", "32k", "-32"}) {
    const auto line = parse({"create", "--bytes", size, "a"});
    ASSERT_FALSE(line) << size;
    EXPECT_NE(line.error().message.find("16 to 4096"), std::string::npos) << line.error().message;
  }
  for (const char* size : {"16", "4096"}) {
    EXPECT_TRUE(parse({"create", "--bytes", size, "a"})) << size;
  }
}

TEST(CommandLine, an_option_before_the_command_is_told_where_it_goes) {
  const auto line = parse({"-c", "/x.ini", "list"});
  ASSERT_FALSE(line);
  EXPECT_NE(line.error().message.find("options go after the command"), std::string::npos)
      << line.error().message;
  EXPECT_TRUE(parse({"--version"}));
  EXPECT_TRUE(parse({"-h"}));
}

TEST(CommandLine, a_mistyped_command_is_told_with_the_nearest) {
  EXPECT_EQ(parse({"mont", "/mnt"}).error().message,
            "there is no command mont (did you mean mount?)");
  EXPECT_EQ(parse({"frobnicate"}).error().message,
            "there is no command frobnicate (see keyfs --help)");
}

TEST(CommandLine, help_is_that_of_the_command) {
  const auto line = parse({"mount", "--help"});
  ASSERT_TRUE(line);
  const auto& text = std::get<HelpArguments>(line->command).text;
  EXPECT_NE(text.find("--embedded"), std::string::npos) << text;
  EXPECT_NE(text.find("Usage: keyfs mount "), std::string::npos) << text;
  const auto all = parse({"--help"});
  ASSERT_TRUE(all);
  for (const char* name : {"mount", "check", "explain", "list", "describe", "create", "disable",
                           "enable", "delete", "rotate", "promote", "retire", "destroy", "heal",
                           "rotation", "sign", "status", "version"}) {
    EXPECT_NE(std::get<HelpArguments>(all->command).text.find(name), std::string::npos) << name;
  }
}

TEST(CommandLine, the_version_may_be_asked_for_as_people_expect) {
  const auto flag = parse({"--version"});
  ASSERT_TRUE(flag);
  EXPECT_TRUE(std::holds_alternative<VersionArguments>(flag->command));
  const auto word = parse({"version"});
  ASSERT_TRUE(word);
  EXPECT_TRUE(std::holds_alternative<VersionArguments>(word->command));
}

}  // namespace
}  // namespace keyfs
