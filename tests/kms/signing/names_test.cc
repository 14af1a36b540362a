#include <gtest/gtest.h>

#include <cctype>
#include <random>
#include <set>
#include <string>

#include "kms/signing/kms_custody.h"

namespace keyfs {
namespace {

TEST(AliasNames, ids_that_spire_uses_are_written_as_spire_writes_them) {
  for (const std::string id :
       {"x509-CA-A", "x509-CA-B", "JWT-Signer-A", "JWT-Signer-B", "WIT-Signer-A", "WIT-Signer-B",
        "bundle-acme-0123456789abcdef", "agent_key", "a_b", "a_-b", "_", "__", "a_2"}) {
    EXPECT_EQ(escape_alias(id), id);
    EXPECT_EQ(unescape_alias(id), id);
  }
  EXPECT_EQ(escape_alias("a.b+c"), "a_2eb_2bc");
  EXPECT_EQ(unescape_alias("a_2eb_2bc"), "a.b+c");
}

TEST(AliasNames, no_two_names_are_written_alike) {
  EXPECT_EQ(escape_alias("a.b"), "a_2eb");
  EXPECT_EQ(escape_alias("a_2eb"), "a_5f2eb");
  EXPECT_EQ(unescape_alias("a_5f2eb"), "a_2eb");
  std::mt19937 random(7);  // NOLINT: the same names in each run
  const std::string letters = "_._.2e5f/+aAzZ-\xc3\xa9 ";
  std::set<std::string> names;
  std::set<std::string> written;
  for (int i = 0; i < 20000; ++i) {
    std::string name;
    const size_t size = 1 + random() % 6;
    while (name.size() < size) name += letters[random() % letters.size()];
    const std::string text = escape_alias(name);
    for (const char c : text) {
      ASSERT_TRUE(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_') << text;
    }
    ASSERT_EQ(unescape_alias(text), name) << text;
    names.insert(name);
    written.insert(text);
  }
  EXPECT_EQ(names.size(), written.size());
}

TEST(AliasNames, what_no_name_is_written_as_is_no_name) {
  for (const std::string text : {"", "a/b", "a.b", "srv1/x509-CA-A", "a_61", "a_5fx", "a b"}) {
    EXPECT_EQ(unescape_alias(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace keyfs
