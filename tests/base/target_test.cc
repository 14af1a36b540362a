#include "base/target.h"

#include <gtest/gtest.h>

#include <deque>

#include "support/fake_time.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

struct TargetTest : ::testing::Test {
  TargetTest() {
    for (const char* name : {"a", "b", "c"}) {
      Health health(
          time.clock, [] { return 0.5; }, options);
      targets.emplace_back(name, targets.size(), std::move(health), turns_for(time.loop, 2));
    }
  }
  std::vector<Target*> all() { return {&targets[0], &targets[1], &targets[2]}; }
  static std::string names(const std::vector<Target*>& order) {
    std::string text;
    for (const Target* one : order) text += one->name;
    return text;
  }
  void answer(size_t target, Duration latency) {
    for (int i = 0; i < 30; ++i) targets[target].succeeded(latency);
  }
  void fail_for_good(size_t target) { targets[target].failed(Error(Code::kDenied, "refused"), 1s); }
  void fail_for_a_moment(size_t target) {
    targets[target].failed(Error(Code::kThrottled, "slow down"), 1s);
  }

  testing::FakeTimeLoop time;
  HealthOptions options;
  std::deque<Target> targets;
};

TEST_F(TargetTest, the_order_is_the_configured_one_until_another_is_faster_by_a_good_deal) {
  auto order = all();
  answer(0, 10ms);
  answer(1, 9ms);
  learn_order(order);
  EXPECT_EQ(names(order), "abc");
  answer(1, 2ms);
  learn_order(order);
  EXPECT_EQ(names(order), "bac");
  answer(1, 7ms);
  learn_order(order);
  EXPECT_EQ(names(order), "bac") << "it is faster by a little still";
  answer(1, 10ms);
  learn_order(order);
  EXPECT_EQ(names(order), "abc");
}

TEST_F(TargetTest, what_is_open_comes_last_and_the_one_first_whose_time_ends_first) {
  fail_for_good(0);
  fail_for_a_moment(1);
  EXPECT_EQ(names(healthy_first(all(), HalfOpen::kInItsPlace)), "cba");
}

TEST_F(TargetTest, what_is_half_open_is_asked_in_its_place_or_behind_what_is_closed) {
  fail_for_a_moment(0);
  fail_for_good(1);
  time.clock.advance(250ms);
  EXPECT_EQ(names(healthy_first(all(), HalfOpen::kInItsPlace)), "acb");
  EXPECT_EQ(names(healthy_first(all(), HalfOpen::kBehind)), "cab");
}

TEST_F(TargetTest, a_caller_who_came_with_little_time_left_says_nothing_about_it) {
  for (int i = 0; i < 5; ++i) {
    targets[0].failed(Error(Code::kTimeout, "late"), 199ms);
    targets[0].gave_up(199ms);
  }
  EXPECT_TRUE(targets[0].closed());
  for (int i = 0; i < 2; ++i) targets[0].failed(Error(Code::kTimeout, "late"), 200ms);
  targets[0].gave_up(200ms);
  EXPECT_FALSE(targets[0].closed());
}

TEST_F(TargetTest, without_a_token_it_says_why_it_is_left_alone) {
  fail_for_a_moment(0);
  while (!targets[0].ask_for_token()) {
  }
  const auto why = targets[0].ask_for_token();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, Code::kThrottled);
  EXPECT_EQ(why->message, "circuit open: retry budget used up (slow down)");
}

}  // namespace
}  // namespace keyfs
