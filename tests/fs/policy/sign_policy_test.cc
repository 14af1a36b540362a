#include "fs/policy/sign_policy.h"

#include <gtest/gtest.h>

#include <string>

#include "fs/policy/policy.h"
#include "kms/signing/key_types.h"

namespace keyfs {
namespace {

Result<std::unique_ptr<const Policy>> load_signing(const std::string& text) {
  const auto file = ConfigFile::parse(text, "k.ini");
  if (!file) return fail(file.error());
  SystemNames names;
  return Policy::load(*file, names);
}

std::string signing_mistake(const std::string& text) {
  const auto policy = load_signing(text);
  return policy ? "no mistake" : policy.error().message;
}

constexpr auto kSignText =
    "[keys *]\nread = uid:9\n"  // 1
    "[sign ca-*]\n"             // 3
    "use = uid:1, gid:20\nsee = uid:2\n"
    "admin = uid:3\n"  // 6
    "algorithms = ECDSA_SHA_256, RSASSA_PSS_SHA_256\n"
    "rate = 100/s\n"
    "[sign *]\ncreate = uid:4\n";

TEST(SignPolicy, the_first_section_that_matches_decides) {
  const auto policy = load_signing(kSignText);
  ASSERT_TRUE(policy) << policy.error().message;
  KnownGroups none;
  const auto decide = [&](const char* id, uid_t uid) {
    return (*policy)->sign_section_for(id).decide({uid, uid}, none);
  };
  EXPECT_TRUE(decide("ca-a", 1).use && decide("ca-a", 1).see);
  EXPECT_TRUE(!decide("ca-a", 2).use && decide("ca-a", 2).see);
  EXPECT_TRUE(decide("ca-a", 3).admin && !decide("ca-a", 3).see);
  EXPECT_TRUE(!decide("ca-a", 4).create && decide("b", 4).create);
  EXPECT_FALSE(decide("ca-a", 9).see);  // a right to a data key is none to a signing key
  EXPECT_FALSE((*policy)->decide("ca-a", {1, 1}, none).read);
  KnownGroups twenty({20});
  EXPECT_TRUE((*policy)->sign_section_for("ca-a").may_use({7, 7}, twenty));
  const SignSection& section = (*policy)->sign_section_for("ca-a");
  EXPECT_TRUE(section.permits(SigningAlgorithm::kEcdsaSha256));
  EXPECT_FALSE(section.permits(SigningAlgorithm::kEcdsaSha384));
  EXPECT_TRUE((*policy)->sign_section_for("b").permits(SigningAlgorithm::kEcdsaSha384));
  EXPECT_EQ(section.rate->count, 100U);
}

TEST(SignPolicy, without_a_section_an_id_is_hidden) {
  const auto policy = load_signing("[sign ca]\nuse = any\n");
  ASSERT_TRUE(policy);
  EXPECT_TRUE((*policy)->sign_section_for("cb").hidden);
  KnownGroups none;
  EXPECT_FALSE((*policy)->sign_section_for("cb").may_see({0, 0}, none));
}

TEST(SignPolicy, mistakes_name_their_line) {
  EXPECT_EQ(signing_mistake("[sign ca]\nuse = any\nalgorithms = ECDSA_SHA_512\n").substr(0, 57),
            "k.ini:3: [sign ca] algorithms: \"ECDSA_SHA_512\" is none of");
  EXPECT_EQ(signing_mistake("[sign ca]\nrate = 5\n"),
            "k.ini:2: [sign ca] rate: \"5\" is no rate: N/s, N/m or N/h, N from 1 to 1000000");
  EXPECT_EQ(signing_mistake("[sign ca]\nrate = 0/s\n").substr(0, 24), "k.ini:2: [sign ca] rate:");
  EXPECT_EQ(signing_mistake("[sign ca]\nread = any\n").substr(0, 24), "k.ini:2: [sign ca] read:");
  EXPECT_EQ(signing_mistake("[sign c/a]\nuse = any\n").substr(0, 19), "k.ini:1: [sign c/a]");
  EXPECT_EQ(signing_mistake("[sign [a]\nuse = any\n").substr(0, 8), "k.ini:1:");
}

TEST(SignPolicy, a_change_of_a_section_is_another_policy) {
  const auto before = load_signing(kSignText);
  ASSERT_TRUE(before);
  EXPECT_TRUE((*before)->same_as(**load_signing(kSignText)));
  for (const auto& [what, with] : {std::pair<std::string, std::string>{"100/s", "99/s"},
                                   {"see = uid:2", "see = uid:5"},
                                   {"ECDSA_SHA_256", "ECDSA_SHA_384"}}) {
    std::string text = kSignText;
    text.replace(text.find(what), what.size(), with);
    EXPECT_FALSE((*before)->same_as(**load_signing(text))) << with;
  }
}

TEST(SignPolicy, explain_tells_of_the_signing_key_of_that_name) {
  const auto policy = load_signing(kSignText);
  ASSERT_TRUE(policy);
  KnownGroups none;
  const std::string told = (*policy)->explain("ca-a", {1, 1}, none);
  EXPECT_NE(told.find("ca-a as a signing key: [sign ca-*] decides (k.ini:3)\n"
                      "  use: yes, by line 4 (use = uid:1, gid:20)\n"
                      "  see: yes, who may use may see\n"),
            told.npos)
      << told;
  EXPECT_NE(told.find("  at most 100/s for each user (rate)\n"), told.npos);
}

}  // namespace
}  // namespace keyfs
