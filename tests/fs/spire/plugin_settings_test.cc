#include "fs/spire/plugin_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/file.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PluginSettings : public ::testing::Test {
 protected:
  ReadSettings read(std::string_view hcl, const std::string& trust_domain = "example.org") {
    return read_settings(arena_, trust_domain, hcl);
  }
  SecretArena arena_;
};

TEST_F(PluginSettings, those_of_aws_kms_are_taken_as_they_are) {
  const auto got = read(R"(
region = "eu-central-1"
key_identifier_value = "server/one"
access_key_id = "AKID"
secret_access_key = "s3cret"
key_tags = { team = "pki" }
)");
  EXPECT_THAT(got.mistakes, IsEmpty());
  EXPECT_THAT(got.settings.regions, ElementsAre("eu-central-1"));
  EXPECT_EQ(got.settings.secret_access_key.reveal_text(), "s3cret");
  EXPECT_EQ(alias_prefix_of_server(got.settings), "alias/SPIRE_SERVER/example_org/server/one/");
  EXPECT_EQ(alias_prefix_of_domain(got.settings), "alias/SPIRE_SERVER/example_org/");
  EXPECT_EQ(description_prefix(got.settings), "SPIRE_SERVER_KEY/example.org/");
  EXPECT_THAT(got.settings.tags, ElementsAre(std::pair<std::string, std::string>("team", "pki")));
}

TEST_F(PluginSettings, all_mistakes_are_told_at_once) {
  const auto got = read(R"(
region = "nowhere!"
regoin = "x"
key_identifier_file = "/f"
key_identifier_value = "a.b"
access_key_id = "AKID"
custody = "other"
grace = "soon"
key_tags = { "aws:x" = "1" }
allow_plain_http = "yes"
)",
                        "Example.Org");
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("the trust domain is not one")));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("region must name AWS regions")));
  EXPECT_THAT(got.mistakes, Contains("line 3: regoin is not known"));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("exclude each other")));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("must contain only letters, digits")));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("must be set together")));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("custody must be")));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("grace must be a time")));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("aws:x begins with aws:")));
  EXPECT_THAT(got.mistakes, Contains(HasSubstr("allow_plain_http must be true or false")));
  EXPECT_EQ(got.mistakes.size(), 10u) << together(got.mistakes);
}

TEST_F(PluginSettings, a_setting_of_the_wrong_form_is_one_mistake_and_not_missing_as_well) {
  const auto got =
      read("region = 3\nkey_identifier_value = 4\naccess_key_id = \"a\"\nsecret_access_key = 5\n");
  EXPECT_THAT(got.mistakes, ElementsAre(HasSubstr("region must be a text"),
                                        HasSubstr("key_identifier_value must"),
                                        HasSubstr("secret_access_key must")));
}

TEST_F(PluginSettings, a_secret_is_in_no_message) {
  const auto got = read("secret_access_key = \"hunter2\"\nsecret_access_key = \"hunter2\" x");
  EXPECT_THAT(got.mistakes, ::testing::Not(IsEmpty()));
  EXPECT_THAT(together(got.mistakes), ::testing::Not(HasSubstr("hunter2")));
}

TEST_F(PluginSettings, identifiers_are_judged_as_aws_kms_does) {
  const auto with = [&](const std::string& value) {
    return together(
        read("region = \"us-east-1\"\nkey_identifier_value = \"" + value + "\"").mistakes);
  };
  EXPECT_EQ(with("a_B-9/c"), "");
  EXPECT_EQ(with(std::string(256, 'a')), "");
  EXPECT_THAT(with(std::string(257, 'a')), HasSubstr("not be longer than 256"));
  EXPECT_THAT(with("alias/aws/x"), HasSubstr("not start with alias/aws/"));
  EXPECT_THAT(with("///"), HasSubstr("not consist of slashes"));
  EXPECT_EQ(read("key_identifier_value = \"/a//b/\"").settings.server, "a/b");
  EXPECT_THAT(with(""), HasSubstr("one of key_identifier_file and"));
}

TEST_F(PluginSettings, the_first_of_several_regions_is_the_one_where_keys_are_made) {
  const std::string id = "key_identifier_value = \"a\"\n";
  EXPECT_THAT(read(id + "regions = [\"us-east-1\", \"us-west-2\"]").mistakes, IsEmpty());
  EXPECT_THAT(
      read(id + "region = \"us-west-2\"\nregions = [\"us-east-1\", \"us-west-2\"]").mistakes,
      ElementsAre("regions must begin with region, where keys are made"));
  EXPECT_THAT(read(id + "regions = [\"us-east-1\", \"us-east-1\"]").mistakes,
              ElementsAre("regions names us-east-1 twice"));
  EXPECT_THAT(read(id).mistakes, ElementsAre("region is required"));
}

TEST_F(PluginSettings, custody_wrapped_refuses_what_only_kms_has_a_use_for) {
  const std::string wrapped = "custody = \"wrapped\"\nkey_identifier_value = \"a\"\n";
  EXPECT_THAT(read(wrapped + "config = \"/etc/x.ini\"").mistakes, IsEmpty());
  EXPECT_THAT(read(wrapped + "region = \"us-east-1\"").mistakes,
              ElementsAre(HasSubstr("line 3: region has no use with custody")));
}

TEST_F(PluginSettings, more_than_50_tags_are_refused) {
  std::string tags;
  for (int i = 0; i < 51; ++i) tags += "t" + std::to_string(i) + " = \"x\"\n";
  EXPECT_THAT(
      read("region = \"us-east-1\"\nkey_identifier_value = \"a\"\nkey_tags {\n" + tags + "}")
          .mistakes,
      ElementsAre(HasSubstr("more than 50")));
}

TEST_F(PluginSettings, an_identifier_file_is_made_once_and_read_from_then_on) {
  const testing::TemporaryDirectory dir;
  const std::string path = dir.path() + "/id";
  const std::string hcl = "region = \"us-east-1\"\nkey_identifier_file = \"" + path + "\"";
  auto looked = read(hcl);
  settle_files(looked, /*makes=*/false);
  EXPECT_THAT(looked.mistakes, IsEmpty());
  struct stat about {};
  EXPECT_NE(::stat(path.c_str(), &about), 0) << "validation has made it";

  auto first = read(hcl);
  settle_files(first, /*makes=*/true);
  ASSERT_THAT(first.mistakes, IsEmpty());
  ASSERT_EQ(::stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_EQ(parse_uuid(first.settings.server), first.settings.server);
  EXPECT_EQ(first.settings.server[14], '4');

  auto second = read(hcl);
  settle_files(second, /*makes=*/true);
  EXPECT_EQ(second.settings.server, first.settings.server);
}

TEST_F(PluginSettings, files_that_cannot_be_used_are_told_with_the_other_mistakes) {
  const testing::TemporaryDirectory dir;
  std::ofstream(dir.path() + "/id") << "not a uuid";
  std::ofstream(dir.path() + "/policy") << "{";
  auto got = read("key_identifier_file = \"" + dir.path() + "/id\"\nkey_policy_file = \"" +
                  dir.path() + "/policy\"");
  settle_files(got, /*makes=*/true);
  EXPECT_THAT(got.mistakes, ElementsAre("region is required", HasSubstr("is not JSON"),
                                        HasSubstr("does not hold a UUID")));
  auto nowhere = read("region = \"us-east-1\"\nkey_identifier_file = \"" + dir.path() + "/no/id\"");
  settle_files(nowhere, /*makes=*/true);
  EXPECT_THAT(nowhere.mistakes, ElementsAre(HasSubstr("could not be made")));
}

TEST(ParseUuid, takes_the_usual_form_only) {
  EXPECT_EQ(parse_uuid("6BA7B810-9DAD-41D1-80B4-00C04FD430C8\n"),
            "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
  EXPECT_EQ(parse_uuid("6ba7b8109dad41d180b400c04fd430c8"), std::nullopt);
  EXPECT_EQ(parse_uuid("../../../../../../../../../../../etc"), std::nullopt);
  EXPECT_EQ(parse_uuid(""), std::nullopt);
}

}  // namespace
}  // namespace keyfs
