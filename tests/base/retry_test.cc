#include "base/retry.h"

#include <gtest/gtest.h>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

TEST(RetryBudget, retries_end_when_nothing_succeeds_and_come_back_with_success) {
  RetryBudget budget;
  int retries = 0;
  while (budget.take(RetryBudget::kRetry)) ++retries;
  EXPECT_EQ(retries, 100);
  for (int i = 0; i < 4; ++i) budget.succeeded(0);
  EXPECT_FALSE(budget.take(RetryBudget::kRetry));
  budget.succeeded(0);
  EXPECT_TRUE(budget.take(RetryBudget::kRetry));
  budget.succeeded(10'000);
  EXPECT_EQ(budget.tokens(), RetryBudget::kFull);
}

TEST(RetryPause, doubles_up_to_the_longest_and_is_spread_by_chance) {
  const auto most = [] { return 1.0; };
  EXPECT_EQ(retry_pause(0, 25ms, 1s, most), 25ms);
  EXPECT_EQ(retry_pause(1, 25ms, 1s, most), 50ms);
  EXPECT_EQ(retry_pause(5, 25ms, 1s, most), 800ms);
  EXPECT_EQ(retry_pause(6, 25ms, 1s, most), 1s);
  EXPECT_EQ(retry_pause(4'000'000'000u, 25ms, 1s, most), 1s);
  EXPECT_EQ(retry_pause(3, 25ms, 1s, [] { return 0.0; }), 0ms);
  EXPECT_EQ(retry_pause(3, 25ms, 1s, [] { return 0.5; }), 100ms);
}

}  // namespace
}  // namespace keyfs
