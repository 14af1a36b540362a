#include "base/health.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/fake_clock.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

struct HealthTest : ::testing::Test {
  Health make() {
    return Health(
        clock, [this] { return fraction; }, options);
  }
  static Error error(Code code) { return Error(code, "told to"); }

  FakeClock clock;
  HealthOptions options;
  double fraction = 0.5;
};

TEST_F(HealthTest, one_that_was_never_asked_is_closed_and_hedged_after_the_default) {
  auto health = make();
  EXPECT_EQ(health.state(), BreakerState::kClosed);
  EXPECT_EQ(health.hedge_delay(), 200ms);
  EXPECT_FALSE(health.expected());
  EXPECT_FALSE(health.p95());
}

TEST_F(HealthTest, p95_is_the_answer_slower_than_nearly_all_of_the_last_ones) {
  auto health = make();
  for (int i = 1; i <= 60; ++i) health.succeeded(10ms * i);
  EXPECT_EQ(*health.p50(), 310ms);
  EXPECT_EQ(*health.p95(), 570ms);
  for (int i = 0; i < 64; ++i) health.succeeded(10ms);
  EXPECT_EQ(*health.p95(), 10ms) << "old answers are forgotten";
}

TEST_F(HealthTest, the_hedge_delay_has_bounds) {
  auto fast = make();
  for (int i = 0; i < 10; ++i) fast.succeeded(1us);
  EXPECT_EQ(fast.hedge_delay(), 20ms);
  auto slow = make();
  for (int i = 0; i < 10; ++i) slow.succeeded(1min);
  EXPECT_EQ(slow.hedge_delay(), 2s);
}

TEST_F(HealthTest, a_call_that_was_given_up_raises_the_expectation_until_the_next_answer) {
  auto health = make();
  for (int i = 0; i < 10; ++i) health.succeeded(10ms);
  health.gave_up(1s);
  EXPECT_EQ(*health.expected(), 1s);
  EXPECT_EQ(*health.p95(), 10ms) << "what it takes when it answers is still the same";
  health.gave_up(1ms);
  EXPECT_EQ(*health.expected(), 1s) << "the answer would have come later than that";
  EXPECT_FALSE(health.wants_probe());
  clock.advance(1s);
  EXPECT_TRUE(health.wants_probe());
  health.succeeded(10ms);
  EXPECT_EQ(*health.expected(), 10ms);
  EXPECT_FALSE(health.wants_probe());
}

TEST_F(HealthTest, the_third_failure_in_a_row_opens_it) {
  auto health = make();
  health.failed(error(Code::kUnavailable));
  health.failed(error(Code::kTimeout));
  health.succeeded(1ms);
  health.failed(error(Code::kUnavailable));
  health.failed(error(Code::kUnavailable));
  EXPECT_EQ(health.state(), BreakerState::kClosed);
  health.gave_up(1s);
  EXPECT_EQ(health.state(), BreakerState::kOpen);
}

TEST_F(HealthTest, its_time_doubles_with_every_probe_that_fails_up_to_a_bound) {
  auto health = make();
  for (int i = 0; i < 3; ++i) health.failed(error(Code::kUnavailable));
  Duration expected = 1s;
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(health.open_for(), expected);
    clock.advance(expected);
    EXPECT_EQ(health.state(), BreakerState::kHalfOpen);
    EXPECT_TRUE(health.wants_probe());
    health.failed(error(Code::kUnavailable));
    expected = std::min<Duration>(2 * expected, 30s);
  }
}

TEST_F(HealthTest, calls_that_fail_while_it_is_open_do_not_prolong_it) {
  auto health = make();
  for (int i = 0; i < 3; ++i) health.failed(error(Code::kUnavailable));
  clock.advance(600ms);
  for (int i = 0; i < 200; ++i) health.failed(error(Code::kUnavailable));
  EXPECT_EQ(health.open_for(), 400ms);
}

TEST_F(HealthTest, a_refusal_while_it_is_open_prolongs_it) {
  auto health = make();
  for (int i = 0; i < 3; ++i) health.failed(error(Code::kUnavailable));
  health.failed(error(Code::kDenied));
  EXPECT_EQ(health.open_for(), 5min);
  health.failed(error(Code::kUnavailable));
  EXPECT_EQ(health.open_for(), 5min);
}

TEST_F(HealthTest, each_class_of_error_has_its_time) {
  const auto open_after = [&](Code code) {
    auto health = make();
    health.failed(error(code));
    return health.open_for();
  };
  EXPECT_EQ(open_after(Code::kThrottled), 250ms);
  EXPECT_EQ(open_after(Code::kUnauthenticated), 15s);
  EXPECT_EQ(open_after(Code::kDenied), 5min);
  EXPECT_EQ(open_after(Code::kCorrupt), 0s);
  EXPECT_EQ(open_after(Code::kInvalid), 0s);
}

TEST_F(HealthTest, a_success_closes_it_and_the_next_time_starts_anew) {
  auto health = make();
  for (int i = 0; i < 3; ++i) health.failed(error(Code::kUnavailable));
  clock.advance(1s);
  health.failed(error(Code::kUnavailable));
  health.succeeded(1ms);
  EXPECT_EQ(health.state(), BreakerState::kClosed);
  for (int i = 0; i < 3; ++i) health.failed(error(Code::kUnavailable));
  EXPECT_EQ(health.open_for(), 1s);
}

TEST_F(HealthTest, jitter_spreads_the_return_of_many_hosts) {
  const auto seconds = [](Duration time) { return std::chrono::duration<double>(time).count(); };
  fraction = 0.0;
  auto early = make();
  early.failed(error(Code::kDenied));
  EXPECT_NEAR(seconds(early.open_for()), 225, 1);
  fraction = 0.999999;
  auto late = make();
  late.failed(error(Code::kDenied));
  EXPECT_NEAR(seconds(late.open_for()), 375, 1);
}

TEST_F(HealthTest, one_probe_at_a_time) {
  auto health = make();
  health.failed(error(Code::kThrottled));
  EXPECT_FALSE(health.wants_probe());
  clock.advance(250ms);
  EXPECT_TRUE(health.wants_probe());
  health.probe_begins();
  EXPECT_FALSE(health.wants_probe());
  health.probe_ends();
  EXPECT_TRUE(health.wants_probe());
}

TEST_F(HealthTest, one_that_nobody_asked_for_long_is_tried_again_and_zero_turns_that_off) {
  auto health = make();
  health.succeeded(1ms);
  clock.advance(4min);
  EXPECT_FALSE(health.wants_probe());
  clock.advance(1min);
  EXPECT_TRUE(health.wants_probe());
  options.explore_after = Duration::zero();
  auto never = make();
  clock.advance(24h);
  EXPECT_FALSE(never.wants_probe());
}

TEST_F(HealthTest, tokens_run_out_and_come_back_at_their_rate) {
  auto health = make();
  int taken = 0;
  while (health.take_token()) ++taken;
  EXPECT_EQ(taken, 20);
  clock.advance(50ms);
  EXPECT_FALSE(health.take_token());
  clock.advance(60ms);
  EXPECT_TRUE(health.take_token());
  EXPECT_FALSE(health.take_token());
  clock.advance(1h);
  taken = 0;
  while (health.take_token()) ++taken;
  EXPECT_EQ(taken, 20) << "no more are saved up";
}

TEST_F(HealthTest, tokens_are_back_once_an_open_one_answers_again) {
  auto health = make();
  const auto take_all = [&] {
    int taken = 0;
    while (health.take_token()) ++taken;
    return taken;
  };
  take_all();
  health.succeeded(1ms);
  EXPECT_EQ(take_all(), 0) << "it was not open";
  for (int i = 0; i < 3; ++i) health.failed(Error(Code::kUnavailable, "refused"));
  ASSERT_EQ(health.state(), BreakerState::kOpen);
  EXPECT_EQ(take_all(), 0);
  health.succeeded(1ms);
  EXPECT_EQ(take_all(), 20);
}

}  // namespace
}  // namespace keyfs
