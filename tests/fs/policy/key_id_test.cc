#include "fs/policy/key_id.h"

#include <gtest/gtest.h>

#include <string>

namespace keyfs {
namespace {

TEST(KeyId, letters_digits_and_some_marks_make_an_id) {
  EXPECT_TRUE(is_key_id("a"));
  EXPECT_TRUE(is_key_id("9"));
  EXPECT_TRUE(is_key_id("Orders.eu_1:v2@host+x=y,z~w-end"));
  EXPECT_TRUE(is_key_id(std::string(255, 'k')));
}

TEST(KeyId, over_255_bytes_is_too_long_whatever_it_holds) {
  EXPECT_EQ(classify_name(std::string(256, 'k')), NameKind::kTooLong);
  EXPECT_EQ(classify_name(std::string(4000, '/')), NameKind::kTooLong);
}

TEST(KeyId, names_with_a_dot_first_are_reserved) {
  for (const char* name : {".", "..", ".keyfs", ".git", ".hidden\n"}) {
    EXPECT_EQ(classify_name(name), NameKind::kReserved) << name;
  }
}

TEST(KeyId, anything_else_does_not_exist) {
  for (const std::string& name :
       {std::string(), std::string("-a"), std::string("_a"), std::string("~a"), std::string("a b"),
        std::string("a/b"), std::string("a*"), std::string("a\n"), std::string("a\0b", 3),
        std::string("\xc3\xa4"), std::string("a\x80"), std::string("a[b]"), std::string("a;b")}) {
    EXPECT_EQ(classify_name(name), NameKind::kInvalid) << name;
  }
}

}  // namespace
}  // namespace keyfs
