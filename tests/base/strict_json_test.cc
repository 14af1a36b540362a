#include "base/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>
#include <string>

namespace keyfs {
namespace {

constexpr size_t kMany = size_t{64} << 20;

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

std::string problem(const std::string& text, size_t max_bytes = kMany) {
  const auto json = parse_strict_json(text, max_bytes);
  return json ? "" : json.error().message;
}

size_t peak_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss);
}

TEST(StrictJson, what_is_within_the_bounds_is_read_as_it_stands) {
  const std::string text = R"({"a":[1,-2,3.5,"x",null,true,{"b":[]}],"c":{}})";
  const auto json = parse_strict_json(text, kMany);
  ASSERT_TRUE(json);
  EXPECT_EQ(json->dump(), text);
  EXPECT_EQ(problem(repeated("[", 32) + repeated("]", 32)), "");
}

TEST(StrictJson, sixty_thousand_levels_are_refused_before_anything_is_built) {
  for (const size_t depth : {size_t{33}, size_t{60'000}, size_t{10'000'000}}) {
    EXPECT_EQ(problem(repeated("[", depth) + repeated("]", depth)),
              "is nested deeper than 32 levels");
    EXPECT_EQ(problem(repeated("{\"M\":", depth) + "1" + repeated("}", depth)),
              "is nested deeper than 32 levels");
  }
}

TEST(StrictJson, sixty_megabytes_of_empty_lists_take_no_memory) {
  const std::string text = "[" + repeated("[],", 20'000'000) + "[]]";
  const size_t before = peak_kib();
  EXPECT_EQ(problem(text), "has too many values");
  EXPECT_LT(peak_kib() - before, size_t{64} * 1024);
}

TEST(StrictJson, the_values_that_are_allowed_are_the_callers_to_say) {
  EXPECT_TRUE(parse_strict_json("[1,2,3]", kMany, 4));
  EXPECT_FALSE(parse_strict_json("[1,2,3,4]", kMany, 4));
  EXPECT_FALSE(parse_strict_json(R"({"a":{"b":{"c":{"d":1}}}})", kMany, 4));
  EXPECT_EQ(problem("[1,2,3]", 6), "has more than 6 bytes");
}

TEST(StrictJson, what_could_be_read_in_two_ways_is_refused) {
  EXPECT_EQ(problem(R"({"a":1,"a":2})"), "has a duplicate key");
  EXPECT_EQ(problem("123456789012345678901234567890"), "has a number that does not fit in 64 bits");
  EXPECT_EQ(problem("[1"), "is not JSON, or is truncated");
}

}  // namespace
}  // namespace keyfs
