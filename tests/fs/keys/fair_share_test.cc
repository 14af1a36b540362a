#include "fs/keys/fair_share.h"

#include <gtest/gtest.h>

#include <list>

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Verdict = WaitingPlaces::Verdict;

TEST(WaitingPlaces, one_user_gets_half_of_what_the_others_do_not_have) {
  WaitingPlaces places(1000);
  std::list<WaitingPlaces::Place> held;
  const auto fill = [&](ForUser user) {
    size_t got = 0;
    for (; places.judge(user) == Verdict::kAdmitted; ++got) held.emplace_back(places, user);
    return got;
  };
  EXPECT_EQ(fill(1), 500u);
  EXPECT_EQ(places.judge(1), Verdict::kShareTaken);
  EXPECT_EQ(fill(2), 250u);
  EXPECT_EQ(fill(3), 125u);
  EXPECT_EQ(places.taken_by(2), 250u);
  EXPECT_EQ(fill(std::nullopt), 125u);
  EXPECT_EQ(places.judge(4), Verdict::kAllTaken);
  held.clear();
  EXPECT_EQ(places.taken(), 0u);
  EXPECT_EQ(places.taken_by(1), 0u);
}

struct CreationRateTest : ::testing::Test {
  // How many a user may make at once.
  int burst(ForUser user) {
    int made = 0;
    for (; made < 10'000; ++made) {
      const auto at = rate.reserve(user, now, 1s);
      if (!at || *at > now) break;
    }
    return made;
  }
  CreationRate rate{50, 500};
  TimePoint now{Duration(1'000'000'000)};
};

TEST_F(CreationRateTest, a_burst_then_so_many_a_second) {
  EXPECT_EQ(burst(1), 500);
  EXPECT_EQ(burst(2), 500);  // each user has its own
  now += 10s;
  EXPECT_EQ(burst(1), 499);  // one was promised before
  now += 1h;
  EXPECT_EQ(burst(1), 500);
}

TEST_F(CreationRateTest, beyond_it_one_waits_or_gets_none) {
  burst(1);
  int waiting = 1;
  TimePoint last{};
  while (const auto at = rate.reserve(1, now, 1s)) {
    EXPECT_GE(*at, last);
    last = *at;
    ++waiting;
  }
  EXPECT_EQ(waiting, 50);
  EXPECT_LE(last - now, 1s);
  // Whoever was refused has taken nothing.
  for (int i = 0; i < 1000; ++i) rate.reserve(1, now, 1s);
  now += 1s;
  EXPECT_TRUE(rate.reserve(1, now, 1s));
}

TEST_F(CreationRateTest, keyfs_itself_is_not_bound) { EXPECT_EQ(burst(std::nullopt), 10'000); }

TEST_F(CreationRateTest, users_who_rest_are_forgotten) {
  for (uid_t user = 0; user < 10'000; ++user) {
    rate.reserve(user, now, 1s);
    now += 10ms;
  }
  EXPECT_LE(rate.users(), 200u);
}

}  // namespace
}  // namespace keyfs
