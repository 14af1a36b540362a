#include "fs/rotation/lock.h"

#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

Head head_of(const Fleet& fleet) {
  return *parse_head(fleet.shared.documents->find(kHeadName)->text);
}

TEST(Lock, one_of_many_holds_it_and_renews_it_each_5_s) {
  Fleet fleet;
  for (int i = 0; i < 5; ++i) fleet.add("web-" + std::to_string(i)).start();
  fleet.pass(10s);
  SimHost* holder = fleet.holder();
  ASSERT_NE(holder, nullptr);
  EXPECT_EQ(head_of(fleet).epoch, 1u);
  EXPECT_EQ(head_of(fleet).holder, holder->name);
  const uint64_t beat = head_of(fleet).beat;
  fleet.pass(10min);
  EXPECT_EQ(fleet.holder(), holder);
  EXPECT_NEAR(static_cast<double>(head_of(fleet).beat - beat), 120, 3);
}

TEST(Lock, a_holder_whose_renewals_fail_stops_acting_after_20_s) {
  Fleet fleet;
  SimHost& web = fleet.add("web");
  web.start();
  fleet.pass(10s);
  ASSERT_TRUE(web.holds());
  web.board.error = Error(Code::kUnavailable, "no answer");
  fleet.pass(14s);
  EXPECT_TRUE(web.holds());
  fleet.pass(7s);
  EXPECT_FALSE(web.holds());
  // Nobody else wants it: it is its own again, in the same epoch.
  web.board.error.reset();
  ASSERT_TRUE(fleet.until([&] { return web.holds(); }, 6min));
  EXPECT_EQ(head_of(fleet).epoch, 1u);
}

TEST(Lock, lost_replies_do_not_lose_it) {
  Fleet fleet;
  SimHost& web = fleet.add("web");
  web.start();
  fleet.pass(10s);
  for (int i = 0; i < 20; ++i) {
    web.board.lose_replies = 2;
    fleet.pass(13s);
    EXPECT_TRUE(web.holds()) << i;
  }
  EXPECT_EQ(head_of(fleet).epoch, 1u);
}

TEST(Lock, a_read_that_may_be_old_takes_nothing_over) {
  Fleet fleet;
  SimHost& web = fleet.add("web");
  web.start();
  fleet.pass(10s);
  SimHost& other = fleet.add("other");
  other.board.old[kHeadName] = *fleet.shared.documents->find(kHeadName);
  other.start();
  fleet.rotate("a", "ta");  // there is something to do: it looks closely
  fleet.pass(10min);
  EXPECT_EQ(fleet.holder(), &web);
  EXPECT_EQ(head_of(fleet).epoch, 1u);
}

TEST(Lock, a_host_that_may_not_run_rotations_never_takes_it) {
  Fleet fleet;
  fleet.add("web").start(false);
  fleet.rotate("a", "ta");
  fleet.pass(10min);
  EXPECT_FALSE(fleet.shared.documents->find(kHeadName));
}

TEST(Lock, another_life_of_the_same_host_waits_like_any_other) {
  Fleet fleet;
  SimHost& web = fleet.add("web");
  web.start();
  fleet.pass(10s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.running() == "run-00000001"; }));
  const TimePoint killed = fleet.shared.clock.now();
  SimHost& again = fleet.restart(web);
  ASSERT_TRUE(fleet.until([&] { return again.holds(); }, 2min));
  EXPECT_GE(fleet.shared.clock.now() - killed, 30s);
  EXPECT_EQ(head_of(fleet).epoch, 2u);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended("run-00000001"); }));
}

}  // namespace
}  // namespace keyfs::testing
