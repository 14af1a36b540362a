#include "base/secret_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace keyfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string secret_of(SecretArena& arena, const std::string& text, const std::string& name) {
  auto json = SecretJson::parse(text);
  EXPECT_TRUE(json) << text;
  if (!json) return "";
  auto secret = json->secret(arena, name);
  EXPECT_TRUE(secret) << text;
  return secret && *secret ? std::string((*secret)->reveal_text()) : "(absent)";
}

TEST(SecretJson, a_member_is_found_among_others_of_any_kind) {
  SecretArena arena;
  const std::string text =
      " {\"a\" : [1, {\"Plaintext\": \"inner\"}, null] ,\"n\":-1.5e+3,\n\"Plaintext\":\"AQID/w==\","
      "\"t\":true, \"o\":{}} ";
  EXPECT_EQ(secret_of(arena, text, "Plaintext"), "AQID/w==");
  auto json = SecretJson::parse(text);
  EXPECT_EQ(json->raw("n"), "-1.5e+3");
  EXPECT_EQ(json->raw("absent"), std::nullopt);
}

TEST(SecretJson, escapes_are_undone) {
  SecretArena arena;
  EXPECT_EQ(secret_of(arena, R"({"a":"x\/y\"\\\b\f\n\r\t"})", "a"), "x/y\"\\\b\f\n\r\t");
  EXPECT_EQ(secret_of(arena, R"({"a":"\u0041\u00e9\u20AC\ud83d\ude00"})", "a"), "Aé€😀");
  EXPECT_EQ(*SecretJson::parse(R"({"a":"\u002b"})")->string("a"), "+");
}

TEST(SecretJson, null_and_absent_are_no_value) {
  SecretArena arena;
  EXPECT_EQ(secret_of(arena, R"({"a":null})", "a"), "(absent)");
  EXPECT_EQ(secret_of(arena, "{}", "a"), "(absent)");
  EXPECT_EQ(secret_of(arena, R"({"a":""})", "a"), "");
}

TEST(SecretJson, what_is_no_json_object_is_corrupt) {
  for (const char* text : {"",
                           " ",
                           "null",
                           "[]",
                           "\"a\"",
                           "{",
                           "}",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{\"a\":1} x",
                           "{\"a\":01}",
                           "{\"a\":1.}",
                           "{\"a\":+1}",
                           "{\"a\":\"x}",
                           "{\"a\":\"\n\"}",
                           "{\"a\":\"\\x\"}",
                           "{\"a\":\"\\u12\"}",
                           "{\"a\":tru}",
                           "{\"a\":[1,]}",
                           "{\"a\":[1}",
                           "{\"a\":\"\\",
                           "{\"a\":-}",
                           "{'a':1}"}) {
    auto json = SecretJson::parse(text);
    ASSERT_FALSE(json) << text;
    EXPECT_EQ(json.error().code, Code::kCorrupt) << text;
  }
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100'000; ++i) deep += '[';
  EXPECT_FALSE(SecretJson::parse(deep));
}

TEST(SecretJson, more_members_than_any_reply_has_are_refused_at_once) {
  std::string text = "{\"a\":1";
  for (int i = 0; i < 300'000; ++i) text += ",\"m" + std::to_string(i) + "\":1";
  const auto json = SecretJson::parse(text + "}");
  ASSERT_FALSE(json);
  EXPECT_THAT(json.error().message, HasSubstr("too many members"));
}

TEST(SecretJson, a_member_that_stands_twice_is_corrupt) {
  EXPECT_FALSE(SecretJson::parse(R"({"KeyId":"a","Plaintext":"b","KeyId":"c"})"));
}

TEST(SecretJson, another_kind_than_a_string_is_an_error_that_quotes_nothing) {
  SecretArena arena;
  auto json = SecretJson::parse(R"({"a":{"secret":"hidden"},"b":"\ud800"})");
  ASSERT_TRUE(json);
  auto object = json->secret(arena, "a");
  ASSERT_FALSE(object);
  EXPECT_EQ(object.error().message, "a is not a string");
  EXPECT_THAT(object.error().message, Not(HasSubstr("hidden")));
  EXPECT_FALSE(json->string("b"));
}

}  // namespace
}  // namespace keyfs
