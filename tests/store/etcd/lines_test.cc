#include "store/etcd/lines.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace keyfs::testing {
namespace {

std::vector<std::string> all(EtcdLines& lines) {
  std::vector<std::string> out;
  while (const auto line = lines.next()) out.emplace_back(*line);
  return out;
}

TEST(EtcdLines, are_the_same_in_whatever_pieces_they_come) {
  const std::string text = "one\n\ntwo\nthree";
  for (size_t size = 1; size <= text.size(); ++size) {
    EtcdLines lines(100);
    std::vector<std::string> seen;
    for (size_t at = 0; at < text.size(); at += size) {
      ASSERT_TRUE(lines.append(text.substr(at, size)));
      for (auto& line : all(lines)) seen.push_back(std::move(line));
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"one", "", "two"})) << size;
    ASSERT_TRUE(lines.append("\n"));
    EXPECT_EQ(all(lines), std::vector<std::string>{"three"});
  }
}

TEST(EtcdLines, a_line_without_an_end_is_refused_at_the_bound) {
  EtcdLines lines(10);
  EXPECT_TRUE(lines.append("0123\n56789"));
  EXPECT_FALSE(lines.append("x"));
  EXPECT_EQ(all(lines), std::vector<std::string>{"0123"});
  EXPECT_TRUE(lines.append("56789"));  // there is room again
  EXPECT_FALSE(lines.append("x"));
}

// If each piece were scanned from the start, this would take minutes.
TEST(EtcdLines, a_long_line_in_small_pieces_takes_time_by_its_length_alone) {
  constexpr size_t kMost = size_t{32} << 20;
  EtcdLines lines(kMost);
  const std::string piece(64, 'x');
  const auto begin = std::chrono::steady_clock::now();
  for (size_t at = 0; at + piece.size() <= kMost; at += piece.size()) {
    ASSERT_TRUE(lines.append(piece));
    ASSERT_FALSE(lines.next());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace keyfs::testing
