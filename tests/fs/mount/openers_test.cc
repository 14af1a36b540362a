#include "fs/mount/openers.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "fs/mount/fixture.h"

namespace keyfs {
namespace {

using testing::policy_of;

class OpenersTest : public ::testing::Test {
 protected:
  const std::unique_ptr<const Policy> policy = policy_of("[keys *]\nread = uid:1, gid:7\n");
  const std::unique_ptr<const Policy> other = policy_of("[keys *]\nread = uid:2\n");
  Openers openers;
};

TEST_F(OpenersTest, handles_of_one_user_under_one_policy_share_an_opener) {
  const std::vector<gid_t> groups = {7, 8};
  const uint32_t first = openers.take(*policy, {1, 1}, std::nullopt);
  EXPECT_EQ(openers.take(*policy, {1, 1}, std::nullopt), first);
  std::set<uint32_t> different = {first};
  EXPECT_TRUE(different.insert(openers.take(*other, {1, 1}, std::nullopt)).second);
  EXPECT_TRUE(different.insert(openers.take(*policy, {2, 1}, std::nullopt)).second);
  EXPECT_TRUE(different.insert(openers.take(*policy, {1, 2}, std::nullopt)).second);
  EXPECT_TRUE(different.insert(openers.take(*policy, {1, 1}, groups)).second);
  EXPECT_FALSE(different.contains(0));
  EXPECT_EQ(openers.take(*policy, {1, 1}, groups), openers.take(*policy, {1, 1}, groups));
}

TEST_F(OpenersTest, an_opener_says_who_that_was_as_long_as_a_handle_is_open) {
  const std::vector<gid_t> groups = {7};
  const uint32_t member = openers.take(*policy, {5, 5}, groups);
  const uint32_t stranger = openers.take(*policy, {5, 5}, std::nullopt);
  openers.take(*policy, {5, 5}, groups);
  openers.give_back(member);
  for (uid_t uid = 100; uid < 1'000; ++uid) {  // others come and go
    openers.give_back(openers.take(*policy, {uid, uid}, std::nullopt));
  }
  const PolicySection& section = policy->sections().front();
  EXPECT_TRUE(Openers::may_read(section, *openers.find(member)));
  EXPECT_FALSE(Openers::may_read(section, *openers.find(stranger)));
  EXPECT_EQ(openers.find(member)->policy.load(), policy.get());
}

TEST_F(OpenersTest, those_who_have_nothing_open_any_more_cost_nothing) {
  uint32_t highest = 0;
  for (uid_t uid = 0; uid < 100'000; ++uid) {
    const uint32_t number = openers.take(*policy, {uid, uid}, std::nullopt);
    highest = std::max(highest, number);
    openers.give_back(number);
  }
  EXPECT_LT(highest, 1'000U);
}

TEST_F(OpenersTest, numbers_that_were_never_given_out_are_nobody) {
  for (const uint32_t number : {0U, 1U, 5'000U, UINT32_MAX}) {
    EXPECT_EQ(openers.find(number), nullptr);
    openers.give_back(number);
  }
}

TEST_F(OpenersTest, opens_and_closes_of_many_threads_add_up) {
  std::vector<std::thread> threads;
  for (uid_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (uid_t i = 0; i < 20'000; ++i) {
        const Caller caller{i % 50, t};
        const uint32_t number = openers.take(*policy, caller, std::nullopt);
        const Openers::Opener* opener = openers.find(number);
        EXPECT_EQ(opener->caller.uid, caller.uid);
        EXPECT_EQ(opener->caller.gid, caller.gid);
        openers.give_back(number);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace keyfs
