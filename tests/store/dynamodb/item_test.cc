// Replies that DynamoDB would not send.
#include "store/dynamodb/item.h"

#include <gtest/gtest.h>

#include <string>

#include "store/rkms.h"

namespace keyfs::testing {
namespace {

std::string nested(size_t depth) {
  std::string text;
  for (size_t i = 0; i < depth; ++i) text += "{\"M\":{\"a\":";
  text += "1";
  for (size_t i = 0; i < depth; ++i) text += "}}";
  return text;
}

TEST(DynamoDbItem, a_reply_of_any_depth_is_an_error_and_no_crash) {
  const DynamoDbNames names{"keyfs", true};
  for (const size_t depth : {size_t{17}, size_t{60'000}}) {
    const std::string item = R"({"id":{"S":"orders"},"keys":{"M":{"x":)" + nested(depth) + "}}}";
    const auto got = parse_get_item(names, R"({"Item":)" + item + "}", "orders");
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Code::kUnavailable);
    const auto page = parse_scan(names, R"({"Items":[)" + item + "]}");
    ASSERT_FALSE(page);
    EXPECT_EQ(page.error().code, Code::kUnavailable);
    EXPECT_FALSE(parse_table(nested(depth)));
    EXPECT_FALSE(parse_recovery(nested(depth)));
  }
}

TEST(DynamoDbItem, a_reply_with_more_values_than_a_page_has_is_an_error) {
  const DynamoDbNames names{"keyfs", true};
  std::string text = R"({"Items":[)";
  while (text.size() < kMaxReplyBytes - 16) text += "[],";
  EXPECT_FALSE(parse_scan(names, text + "[]]}"));
}

TEST(DynamoDbItem, a_page_has_what_is_a_record_and_nothing_of_the_tables_own) {
  const DynamoDbNames names{"keyfs", true};
  const auto page = parse_scan(names, R"({"Items":[{"id":{"S":".keyfs-store"}},)"
                                      R"({"id":{"S":".keyfs-check"}},{"id":{"S":".sign.ca"}},)"
                                      R"({"id":{"S":"orders"}}]})");
  ASSERT_TRUE(page) << page.error().message;
  ASSERT_EQ(page->entries.size(), 2u);
  EXPECT_EQ(page->entries[0].id, ".sign.ca");
  EXPECT_EQ(page->entries[1].id, "orders");
}

TEST(DynamoDbItem, what_rkms_wrote_and_is_not_accepted_is_told_from_what_is_damaged) {
  const DynamoDbNames names{"keyfs", false};
  const auto error_of = [&](const std::string& keys) {
    const std::string item = R"({"id":{"S":"orders"},"keys":{"M":)" + keys + "}}";
    const auto got = parse_get_item(names, R"({"Item":)" + item + "}", "orders");
    EXPECT_FALSE(got);
    return got ? Error(Code::kInvalid, "") : got.error();
  };
  const Error whole = error_of(R"({"us-east-1":{"S":"YmxvYg=="}})");
  EXPECT_EQ(whole.code, Code::kCorrupt);
  EXPECT_TRUE(is_rkms_not_accepted(whole)) << whole.message;
  EXPECT_TRUE(is_rkms_not_accepted(whole.within("could not read it")));
  for (const char* keys :
       {"{}", "[]", R"({"us-east-1":{"S":"!"}})", R"({"us-east-1":{"N":"1"}})"}) {
    EXPECT_FALSE(is_rkms_not_accepted(error_of(keys))) << keys;
  }
}

}  // namespace
}  // namespace keyfs::testing
