#include "base/retry.h"

#include <gtest/gtest.h>

#include "support/fake_random.h"

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

TEST(Backoff, doubles_up_to_the_longest_and_no_further) {
  const Backoff backoff{25ms, 1s};
  EXPECT_EQ(backoff.longest(0), 25ms);
  EXPECT_EQ(backoff.longest(1), 50ms);
  EXPECT_EQ(backoff.longest(5), 800ms);
  EXPECT_EQ(backoff.longest(6), 1s);
  EXPECT_EQ(backoff.longest(4'000'000'000u), 1s);
  EXPECT_EQ((Backoff{5s, 1s}.longest(0)), 1s);
  EXPECT_EQ((Backoff{0s, 1s}.longest(4'000'000'000u)), 0s);
}

TEST(Backoff, chance_takes_away_no_more_than_its_spread) {
  const auto least = [] { return 0.0; };
  const auto half = [] { return 0.5; };
  const Backoff full_jitter{25ms, 1s, 1};
  EXPECT_EQ(full_jitter.pause(3, least), 0ms);
  EXPECT_EQ(full_jitter.pause(3, half), 100ms);
  const Backoff half_jitter{100ms, 1s, 0.5};
  EXPECT_EQ(half_jitter.pause(0, least), 50ms);
  EXPECT_EQ(half_jitter.pause(0, half), 75ms);
  const Backoff none{100ms, 1s};
  EXPECT_EQ(none.pause(1, least), 200ms);
}

TEST(RandomFraction, is_spread_over_the_unit_and_goes_on_without_randomness) {
  FixedRandom zeros({0});
  EXPECT_EQ(random_fraction(zeros)(), 0.0);
  FixedRandom ones({0xff});
  const double most = random_fraction(ones)();
  EXPECT_GT(most, 0.999);
  EXPECT_LT(most, 1.0);
  BrokenRandom broken;
  EXPECT_EQ(random_fraction(broken)(), 0.5);
}

}  // namespace
}  // namespace keyfs
