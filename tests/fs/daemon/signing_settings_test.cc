#include "fs/daemon/signing_settings.h"

#include <gtest/gtest.h>

#include "fs/daemon/settings.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

Result<SigningSettings> read_signing(const std::string& text) {
  auto file = ConfigFile::parse(text, "k.ini");
  if (!file) return fail(file.error());
  return read_signing_settings(*file);
}

TEST(SigningSettings, without_a_section_keys_are_wrapped_and_kms_is_not_asked) {
  const auto settings = read_signing("[store]\ntype = sqlite\n");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->custody, "wrapped");
  EXPECT_TRUE(settings->regions.empty());
  EXPECT_EQ(settings->alias_prefix(), "alias/KEYFS/default/");
  EXPECT_EQ(settings->keys_per_hour, 20u);
  EXPECT_EQ(settings->grace, 1h);
  EXPECT_EQ(settings->list_every, 5min);
}

TEST(SigningSettings, what_is_in_force_can_be_read_again) {
  const auto settings = read_signing(
      "[signing]\ncustody = kms\nname = prod\nregions = us-east-1, us-west-2\n"
      "key_policy_file = /etc/keyfs/policy.json\nkey_tags = team=pki, env=\n"
      "endpoint = http://127.0.0.1:4566\nprofile = signer\nrole_arn = arn:aws:iam::1:role/s\n"
      "keys_per_hour = 5\ngrace = 90s\nlist_every = 1m\n");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->alias_prefix(), "alias/KEYFS/prod/");
  EXPECT_EQ(settings->description_prefix(), "KEYFS_SIGN/prod/");
  EXPECT_EQ(settings->regions, (std::vector<std::string>{"us-east-1", "us-west-2"}));
  EXPECT_EQ(settings->key_tags,
            (std::vector<std::pair<std::string, std::string>>{{"team", "pki"}, {"env", ""}}));
  const std::string text = signing_settings_text(*settings);
  const auto again = read_signing(text);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(signing_settings_text(*again), text);
}

TEST(SigningSettings, a_mistake_names_its_line_and_what_would_be_right) {
  struct Wrong {
    const char *lines, *where, *what;
  };
  for (const Wrong& wrong :
       {Wrong{"custody = hsm\n", "k.ini:2: [signing] custody: ", "wrapped"},
        Wrong{"custody = kms\n", "k.ini:2: [signing] custody: ", "regions"},
        Wrong{"name = a/b\n", "k.ini:2: [signing] name: ", "letters"},
        Wrong{"regions = us-east-1, nowhere!\n", "k.ini:2: [signing] regions: ", "nowhere!"},
        Wrong{"key_tags = team=pki\n", "k.ini:2: [signing] key_tags: ", "custody kms"},
        Wrong{"regions = us-east-1\nkey_tags = team\n", "k.ini:3: [signing] key_tags: ", "team"},
        Wrong{"regions = us-east-1\nkey_tags = a=1, a=2\n", "k.ini:3: ", "twice"},
        Wrong{"regions = us-east-1\nkey_tags = aws:x=1\n", "k.ini:3: ", "AWS's own"},
        Wrong{"regions = us-east-1\nkey_policy_file = p.json\n", "k.ini:3: ", "absolute"},
        Wrong{"regions = us-east-1\nrole_arn = admin\n", "k.ini:3: ", "ARN"},
        Wrong{"keys_per_hour = 0\n", "k.ini:2: [signing] keys_per_hour: ", ""},
        Wrong{"grace = 1\n", "k.ini:2: [signing] grace: ", ""},
        Wrong{"list_every = 1s\n", "k.ini:2: [signing] list_every: ", ""},
        Wrong{"lists = yes\n", "k.ini:2: [signing] lists: ", "unknown"}}) {
    const auto settings = read_signing(std::string("[signing]\n") + wrong.lines);
    ASSERT_FALSE(settings) << wrong.lines;
    EXPECT_EQ(settings.error().code, Code::kInvalid);
    const std::string& said = settings.error().message;
    EXPECT_TRUE(said.starts_with(wrong.where)) << said;
    EXPECT_NE(said.find(wrong.what), said.npos) << said;
  }
}

TEST(SigningSettings, there_are_signing_keys_where_a_section_says_who_may_use_them) {
  const auto parsed = [](const std::string& text) { return *ConfigFile::parse(text, "k.ini"); };
  EXPECT_TRUE(signs(parsed("[sign ca-*]\nuse = any\n")));
  EXPECT_FALSE(signs(parsed("[signing]\ncustody = wrapped\n[keys *]\nread = any\n")));
  EXPECT_TRUE(check_sections(parsed("[signing]\ngrace = 1h\n[sign *]\nuse = any\n")));
  EXPECT_FALSE(check_sections(parsed("[sign]\nuse = any\n")));
  EXPECT_FALSE(check_sections(parsed("[signing x]\ngrace = 1h\n")));
  EXPECT_TRUE(signs(parsed(*embedded_config("/home/me", 1000))));
}

}  // namespace
}  // namespace keyfs
