// Old versions are retired by a daemon, over a store that cannot announce it.
#include "fs/rotation/key_changer.h"
#include "fs/upkeep/key_versions_fixture.h"
#include "store/pulse.h"

namespace keyfs::testing {
namespace {

struct ToldRetirerTest : KeyVersionsTest {
  std::vector<std::string> heard(unsigned shard = 0) {
    const auto there = world.records->documents()->find(pulse_name(shard));
    if (!there) return {};
    const auto pulse = parse_pulse(there->text);
    EXPECT_TRUE(pulse);
    return pulse ? pulse->changed : std::vector<std::string>();
  }
  Result<MinChange> retire(uint32_t below) { return run(retirer.retire("orders", below)); }

  MemoryStore store{world.time.loop, world.records};
  ToldRetirer retirer{world.time.loop, host.versions, store, world.random, 2};
};

TEST_F(ToldRetirerTest, other_hosts_hear_in_each_copy_of_what_it_has_retired) {
  ASSERT_TRUE(rotate("t1"));
  const auto retired = retire(2);
  ASSERT_TRUE(retired) << retired.error().message;
  EXPECT_EQ(retired->after, 2u);
  EXPECT_EQ(orders().min, 2u);
  EXPECT_EQ(heard(0), std::vector<std::string>{"orders"});
  EXPECT_EQ(heard(1), std::vector<std::string>{"orders"});
}

TEST_F(ToldRetirerTest, versions_below_one_that_is_not_current_are_left_and_nobody_is_told) {
  ASSERT_TRUE(rotate("t1"));
  ASSERT_TRUE(rotate("t2"));
  const auto retired = retire(2);
  ASSERT_FALSE(retired);
  EXPECT_EQ(retired.error().code, Code::kInvalid);
  EXPECT_EQ(orders().min, 0u);
  EXPECT_TRUE(heard().empty());
}

TEST_F(ToldRetirerTest, what_could_not_be_told_is_an_error_and_is_told_by_the_same_call_again) {
  ASSERT_TRUE(rotate("t1"));
  world.records->documents()->damage(pulse_name());
  EXPECT_FALSE(retire(2));
  EXPECT_EQ(orders().min, 2u);  // it is done all the same
  const auto there = world.records->documents()->find(pulse_name());
  world.records->documents()->remove(pulse_name(), there->revision);
  const auto again = retire(2);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->before, again->after);
  EXPECT_EQ(heard(), std::vector<std::string>{"orders"});
}

}  // namespace
}  // namespace keyfs::testing
