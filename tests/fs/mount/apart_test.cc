#include "fs/mount/apart.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

TEST(WorkApart, gives_what_the_work_gave_also_when_it_is_much_or_nothing) {
  EXPECT_EQ(*work_apart([] { return std::string(); }, 10s), "");
  const std::string much(1 << 20, 'x');
  EXPECT_EQ(*work_apart([&] { return much; }, 10s), much);
}

TEST(WorkApart, work_that_hangs_is_left_behind) {
  const auto begin = std::chrono::steady_clock::now();
  const auto answer = work_apart(
      []() -> std::string {
        for (;;) ::pause();
      },
      50ms);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST(WorkApart, work_that_dies_is_an_error) {
  const auto answer = work_apart([]() -> std::string { ::_exit(3); }, 10s);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace keyfs
