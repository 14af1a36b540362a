// Which regions a read asks, and when: hedges, breakers, the learned order, the budget.
#include <gmock/gmock.h>

#include <algorithm>

#include "kms/regions_unwrap_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::ElementsAre;

TEST_F(RegionsUnwrap, a_hanging_first_region_costs_the_default_hedge_delay_while_p95_is_unknown) {
  build_with_key();
  region[0]->hang();
  Result<UnwrappedKey> got = fail(Code::kInvalid, "");
  EXPECT_EQ(timed([&] { got = unwrap(wrapped); }), 200ms);
  expect_the_key(got);
  EXPECT_TRUE(got->hedged);
  EXPECT_EQ(got->region, "b");
  EXPECT_THAT(counts.hedges, ElementsAre("b"));
  EXPECT_EQ(region[0]->calls.dropped, 1);
}

TEST_F(RegionsUnwrap, a_hanging_first_region_costs_its_own_p95_once_it_is_known) {
  build_with_key();
  all_answer_after(20ms);
  region[0]->hang();
  EXPECT_EQ(timed([&] { read(); }), 25ms + 20ms) << "p95 and a quarter, and b's answer";
}

TEST_F(RegionsUnwrap, two_hanging_regions_of_three_cost_two_hedge_delays) {
  build_with_key();
  region[0]->hang();
  region[1]->hang();
  EXPECT_EQ(timed([&] { read(); }), 400ms);
}

TEST_F(RegionsUnwrap, hangs_do_not_drag_out_the_hedge_delay) {
  options.health.failures_to_open = 1000;
  build_with_key();
  all_answer_after(20ms);
  region[0]->hang();
  Duration longest{};
  for (int i = 0; i < 30; ++i) {
    longest = std::max(longest, timed([&] { read(); }));
    wait(10s);
  }
  EXPECT_EQ(longest, 45ms);
}

TEST_F(RegionsUnwrap, a_region_that_hung_is_not_asked_first_again_until_it_answers) {
  build_with_key();
  region[0]->hang();
  read();
  forget_calls();
  EXPECT_EQ(timed([&] { read(); }), 0s);
  EXPECT_EQ(region[0]->calls.all(), 0);
  region[0]->heal();
  wait(2s);
  read();  // and beside it a is tried
  wait(1s);
  EXPECT_EQ(unwrap(wrapped)->region, "a");
}

TEST_F(RegionsUnwrap, a_region_that_hangs_under_several_reads_at_once_is_opened) {
  build_with_key();
  region[0]->hang();
  TaskGroup<Result<UnwrappedKey>> group(time.loop);
  for (int i = 0; i < 3; ++i) group.start(regions->unwrap(wrapped, context, verifier, in(10s)));
  const auto all = [&]() -> Task<int> {
    int served = 0;
    while (auto one = co_await group.next()) served += one->value.has_value();
    co_return served;
  };
  EXPECT_EQ(time.loop.run_task(all()), 3);
  EXPECT_THAT(counts.breakers, ElementsAre("a open"));
}

TEST_F(RegionsUnwrap, a_region_that_lost_right_after_it_was_asked_is_not_blamed) {
  build_with_key();
  region[0]->answer_after(201ms);
  region[1]->answer_after(50ms);
  EXPECT_EQ(unwrap(wrapped)->region, "a");  // 1 ms after b was asked
  EXPECT_EQ(counts.given_up, 1);
  EXPECT_EQ(regions->status()[0].name, "b");
  EXPECT_EQ(*regions->status()[0].expected, 0s);
}

TEST_F(RegionsUnwrap, an_open_region_is_probed_beside_a_read_that_does_not_wait_for_it) {
  build_with_key();
  region[0]->fail_with(Code::kUnavailable);
  for (int i = 0; i < 3; ++i) read();
  region[0]->answer_after(3s);
  time.clock.advance(2s);
  EXPECT_EQ(regions->status().back().state, BreakerState::kHalfOpen);
  EXPECT_EQ(timed([&] { read(); }), 0s);
  read();
  EXPECT_EQ(region[0]->calls.unwrap, 4) << "one probe at a time";
  EXPECT_EQ(region[0]->calls.under_way, 1);
  wait(4s);
  EXPECT_THAT(counts.breakers, ElementsAre("a open", "a closed"));
}

TEST_F(RegionsUnwrap, a_probe_that_fails_keeps_the_region_out_for_longer) {
  build_with_key();
  region[0]->fail_with(Code::kUnavailable);
  for (int i = 0; i < 3; ++i) read();
  EXPECT_EQ(regions->status().back().open_for, 1s);
  time.clock.advance(1s);
  read();
  wait(100ms);
  EXPECT_EQ(regions->status().back().name, "a");
  EXPECT_EQ(regions->status().back().open_for, 1900ms);
}

TEST_F(RegionsUnwrap, a_probe_that_hangs_ends_at_its_deadline_and_the_next_one_can_come) {
  build_with_key();
  region[0]->hang();
  read();
  wait(2s);
  read();
  EXPECT_EQ(region[0]->calls.under_way, 1);
  wait(60s);
  EXPECT_EQ(region[0]->calls.under_way, 0);
  region[0]->heal();
  read();
  wait(1s);
  EXPECT_EQ(unwrap(wrapped)->region, "a");
}

TEST_F(RegionsUnwrap, a_region_that_refuses_is_left_alone_for_minutes_and_still_asked_in_need) {
  build_with_key();
  region[0]->fail_with(Code::kDenied, "the master key is disabled");
  read();
  EXPECT_EQ(regions->status().back().name, "a");
  EXPECT_EQ(regions->status().back().open_for, 5min);
  region[0]->heal();
  region[1]->fail_with(Code::kUnavailable);
  region[2]->fail_with(Code::kUnavailable);
  auto got = unwrap(wrapped);
  expect_the_key(got);
  EXPECT_EQ(got->region, "a");
  EXPECT_EQ(regions->status().front().name, "a") << "an answer closes the breaker";
}

TEST_F(RegionsUnwrap, the_order_is_learned_from_latency) {
  build_with_key();
  region[0]->answer_after(90ms);
  region[1]->answer_after(60ms);
  region[2]->answer_after(10ms);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(create());  // asks all of them
  forget_calls();
  EXPECT_EQ(timed([&] { read(); }), 10ms);
  EXPECT_EQ(region[2]->calls.unwrap, 1);
  EXPECT_EQ(all_calls(), 1);
}

TEST_F(RegionsUnwrap, between_regions_that_are_alike_the_configured_order_stays) {
  build_with_key();
  region[0]->answer_after(11ms);
  region[1]->answer_after(10ms);
  region[2]->answer_after(9ms);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(create());
  forget_calls();
  read();
  EXPECT_EQ(region[0]->calls.unwrap, 1);
}

TEST_F(RegionsUnwrap, a_region_that_became_fast_again_is_found_again) {
  options.health.explore_after = 1min;
  build_with_key();
  region[0]->answer_after(100ms);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(create());
  EXPECT_EQ(unwrap(wrapped)->region, "b");
  region[0]->heal();
  for (int i = 0; i < 30; ++i) {
    wait(61s);
    read();
  }
  EXPECT_EQ(unwrap(wrapped)->region, "a");
}

TEST_F(RegionsUnwrap, throttled_everywhere_ends_soon_and_makes_no_storm) {
  build_with_key();
  for (auto* one : region) one->fail_with(Code::kThrottled);
  const auto readers = [&](int number) -> Task<int> {
    TaskGroup<Result<UnwrappedKey>> group(time.loop);
    for (int i = 0; i < number; ++i) {
      group.start(regions->unwrap(wrapped, context, verifier, in(10s)));
    }
    int throttled = 0;
    while (auto one = co_await group.next()) {
      throttled += !one->value && one->value.error().code == Code::kThrottled;
    }
    co_return throttled;
  };
  EXPECT_EQ(time.loop.run_task(readers(1)), 1);  // opens the breakers
  forget_calls();
  int throttled = 0;
  EXPECT_LT(timed([&] { throttled = time.loop.run_task(readers(1000)); }), 1s);
  EXPECT_EQ(throttled, 1000);
  // Three regions, each with its 20 tokens and those that come back within the second.
  EXPECT_LE(all_calls(), 3 * (20 + 10));
}

TEST_F(RegionsUnwrap, slow_regions_get_no_more_hedges_than_there_are_tokens) {
  options.health.tokens = 3;
  options.health.tokens_per_second = 0;
  build_with_key();
  region[0]->answer_after(1s);
  region[1]->answer_after(10s);
  region[2]->answer_after(10s);
  TaskGroup<Result<UnwrappedKey>> group(time.loop);
  for (int i = 0; i < 100; ++i) group.start(regions->unwrap(wrapped, context, verifier, in(10s)));
  const auto all = [&]() -> Task<int> {
    int served = 0;
    while (auto one = co_await group.next()) served += one->value.has_value();
    co_return served;
  };
  EXPECT_EQ(time.loop.run_task(all()), 100);
  EXPECT_EQ(region[1]->calls.unwrap, 3);
  EXPECT_LE(region[2]->calls.unwrap, 3);
}

TEST_F(RegionsUnwrap, without_tokens_a_hanging_region_still_leaves_time_for_the_next) {
  options.health.tokens = 0;
  build_with_key();
  region[0]->hang();
  Result<UnwrappedKey> got = fail(Code::kInvalid, "");
  EXPECT_LT(timed([&] { got = unwrap(wrapped, 9s); }), 4s);
  expect_the_key(got);
}

TEST_F(RegionsUnwrap, masters_that_come_back_serve_the_next_read_however_many_failed_before) {
  build_with_key();
  for (auto* one : region) one->fail_with(Code::kDenied);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(unwrap(wrapped).error().code, Code::kDenied);
  for (auto* one : region) one->heal();
  read();
}

TEST_F(RegionsUnwrap, time_spent_in_our_own_queue_is_no_latency_and_opens_no_breaker) {
  options.calls_at_once = 2;
  build_with_key();
  all_answer_after(100ms);
  forget_calls();
  const auto many = [&]() -> Task<int> {
    TaskGroup<Result<UnwrappedKey>> group(time.loop);
    for (int i = 0; i < 60; ++i) group.start(regions->unwrap(wrapped, context, verifier, in(10s)));
    int good = 0;
    while (auto one = co_await group.next()) good += one->value.has_value();
    co_return good;
  };
  EXPECT_EQ(time.loop.run_task(many()), 60);
  EXPECT_TRUE(counts.breakers.empty());
  for (const auto& one : regions->status()) {
    EXPECT_EQ(one.state, BreakerState::kClosed);
    EXPECT_LE(one.p95.value_or(0ms), 110ms) << one.name;
    EXPECT_LE(one.expected.value_or(0ms), 130ms) << one.name;
  }
  // Nor when they leave for want of time.
  const auto in_vain = [&]() -> Task<int> {
    TaskGroup<Result<UnwrappedKey>> group(time.loop);
    for (int i = 0; i < 60; ++i) {
      group.start(regions->unwrap(wrapped, context, verifier, in(150ms)));
    }
    int late = 0;
    while (auto one = co_await group.next()) late += !one->value.has_value();
    co_return late;
  };
  EXPECT_GT(time.loop.run_task(in_vain()), 40);
  EXPECT_TRUE(counts.breakers.empty());
  EXPECT_EQ(under_way(), 0);
}

TEST_F(RegionsUnwrap, regions_that_hang_until_the_readers_leave_are_learned_too) {
  build_with_key();
  for (auto* one : region) one->hang();
  for (int i = 0; i < 3; ++i) {
    TaskGroup<Result<UnwrappedKey>> group(time.loop);
    group.start(regions->unwrap(wrapped, context, verifier, in(1h)));
    EXPECT_TRUE(time.loop.run_task(still_waiting_after(group, 700ms)));
  }
  for (const auto& one : regions->status()) EXPECT_EQ(one.state, BreakerState::kOpen) << one.name;
}

TEST_F(RegionsUnwrap, a_caller_with_little_time_left_does_not_blame_the_region) {
  build_with_key();
  all_answer_after(20ms);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(unwrap(wrapped, 3ms));
  EXPECT_TRUE(counts.breakers.empty());
}

}  // namespace
}  // namespace keyfs::testing
