#include "fs/spire/hcl.h"

#include <gtest/gtest.h>

namespace keyfs {
namespace {

std::string hcl_error(std::string_view text) {
  const auto document = parse_hcl(text);
  return document ? "" : document.error().message;
}

TEST(Hcl, texts_numbers_lists_maps_and_blocks_are_read_as_spire_prints_them) {
  const auto document = parse_hcl(R"(
# one
region = "us-east-1" // two
"quoted" = true
count = -1.5 /* three
lines */ regions = [
  "a", # four
  "b",
]
key_tags { team = "pki", "cost centre" = "7" }
more = { "a:b" = 5 }
)");
  ASSERT_TRUE(document) << document.error().message;
  ASSERT_EQ(document->entries.size(), 6u);
  EXPECT_TRUE(document->mistakes.empty());
  EXPECT_EQ(document->entries[0].scalar.text(), "us-east-1");
  EXPECT_EQ(document->entries[0].line, 3u);
  EXPECT_EQ(document->entries[1].name, "quoted");
  EXPECT_TRUE(document->entries[1].scalar.is_true());
  EXPECT_EQ(document->entries[2].scalar.text(), "-1.5");
  ASSERT_EQ(document->entries[3].list.size(), 2u);
  EXPECT_EQ(document->entries[3].line, 6u);
  EXPECT_EQ(document->entries[3].list[1].text(), "b");
  ASSERT_EQ(document->entries[4].map.size(), 2u);
  EXPECT_EQ(document->entries[4].map[1].first, "cost centre");
  EXPECT_EQ(document->entries[5].map[0].second.text(), "5");
}

TEST(Hcl, escapes_mean_what_they_mean_in_go) {
  const auto document = parse_hcl(R"(a = "q\" b\\ n\n t\t x\x41 u\u00e9 U\U0001F511 ${x}")");
  ASSERT_TRUE(document) << document.error().message;
  EXPECT_EQ(document->entries[0].scalar.text(),
            "q\" b\\ n\n t\t xA u\xc3\xa9 U\xf0\x9f\x94\x91 ${x}");
  SecretArena arena;
  const auto secret = document->entries[0].scalar.secret(arena);
  ASSERT_TRUE(secret);
  EXPECT_EQ(secret->reveal_text(), document->entries[0].scalar.text());
}

TEST(Hcl, what_is_no_hcl_is_told_with_its_line_and_without_its_values) {
  EXPECT_EQ(hcl_error("a = 1\nb = \"secret"), "line 2: a text has no closing quote");
  EXPECT_EQ(hcl_error("a = \"x\ny\""), "line 1: a text has no closing quote on its line");
  EXPECT_EQ(hcl_error("a = \"\\q\""), "line 1: a text holds an escape that is none");
  EXPECT_EQ(hcl_error("a = \"\\ud800\""), "line 1: a text holds an escape that is none");
  EXPECT_EQ(hcl_error("\n\na"), "line 3: a: = is expected after a name");
  EXPECT_EQ(hcl_error("a = <<EOF\nx\nEOF"),
            "line 1: texts over several lines (<<) are not understood");
  EXPECT_EQ(hcl_error("a = [[1]]"), "line 1: lists and maps within others are not understood");
  EXPECT_EQ(hcl_error("a = { b = { c = 1 } }"),
            "line 1: lists and maps within others are not understood");
  EXPECT_EQ(hcl_error("a = [1 2]"), "line 1: a comma or ] is expected");
  EXPECT_EQ(hcl_error("a = [1,"), "line 1: a list has no closing ]");
  EXPECT_EQ(hcl_error("a { b = 1"), "line 1: a map has no closing }");
  EXPECT_EQ(hcl_error("/* a"), "line 1: a comment has no end");
  EXPECT_EQ(hcl_error("a = yes"), "line 1: a text in quotes, a number, true or false is expected");
  EXPECT_EQ(hcl_error("1a = 1"), "line 1: a name is expected");
}

TEST(Hcl, names_that_come_twice_are_all_told) {
  const auto document = parse_hcl("a = 1\na = 2\nt = { x = 1, x = 2 }\na = 3");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->mistakes,
            (std::vector<std::string>{"line 2: a is set twice", "line 3: x is set twice in t",
                                      "line 4: a is set twice"}));
}

}  // namespace
}  // namespace keyfs
