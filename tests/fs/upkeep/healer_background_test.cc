// What a healer does by itself: woken by a note, after a failure, and now and then.
#include "fs/upkeep/healer_fixture.h"

namespace keyfs {
namespace {

using testing::HealerTest;
using testing::Nurse;
using namespace std::chrono_literals;

TEST_F(HealerTest, a_note_wakes_it) {
  make_degraded("orders");
  Nurse nurse(world);
  nurse.start();
  wait(1min);
  EXPECT_EQ(wraps("orders"), 2u);
  nurse.healer.note_degraded("orders");
  EXPECT_EQ(nurse.healer.status().waiting, 1u);
  wait(1s);
  EXPECT_EQ(wraps("orders"), 3u);
  EXPECT_EQ(nurse.healer.status().waiting, 0u);
  EXPECT_EQ(nurse.healer.status().healed, 1u);
}

TEST_F(HealerTest, a_note_of_a_key_that_is_not_there_is_forgotten) {
  Nurse nurse(world);
  nurse.start();
  nurse.healer.note_degraded("nowhere");
  wait(1s);
  EXPECT_EQ(nurse.healer.status().waiting, 0u);
}

TEST_F(HealerTest, a_region_that_stays_out_is_asked_ever_less_however_many_keys_lack_it) {
  Nurse nurse(world);
  for (int i = 0; i < 20; ++i) make_degraded("key" + std::to_string(i));
  nurse.daemon.region[2]->fail_with(Code::kUnavailable);
  nurse.start();
  for (int i = 0; i < 20; ++i) nurse.healer.note_degraded("key" + std::to_string(i));
  wait(1h);
  // 5 s, 10 s, ... up to 10 min: 13 times, if each try took no time.
  EXPECT_GE(nurse.daemon.region[2]->calls.wrap, 5);
  EXPECT_LE(nurse.daemon.region[2]->calls.wrap, 14);
  EXPECT_LE(nurse.daemon.unwraps(), 14);
  EXPECT_EQ(nurse.healer.status().waiting, 20u);
  EXPECT_EQ(world.log.count("key key0 lacks a region"), 1u);
  // Once it is back, all are healed without a notification.
  nurse.daemon.region[2]->heal();
  wait(15min);
  EXPECT_EQ(nurse.healer.status().waiting, 0u);
  EXPECT_EQ(wraps("key7"), 3u);
}

TEST_F(HealerTest, a_key_that_keeps_failing_is_tried_ever_less_and_holds_up_no_other) {
  make_degraded("orders");
  world.records->write_raw("broken", "{");
  Nurse nurse(world);
  nurse.start();
  nurse.healer.note_degraded("broken");
  wait(1h);
  EXPECT_GE(nurse.daemon.store.calls.get, 5);
  EXPECT_LE(nurse.daemon.store.calls.get, 14);
  nurse.healer.note_degraded("orders");
  wait(1s);
  EXPECT_EQ(wraps("orders"), 3u);
  EXPECT_EQ(nurse.healer.status().waiting, 1u);
}

TEST_F(HealerTest, a_store_that_is_out_is_asked_now_and_then_however_many_keys_wait) {
  Nurse nurse(world);
  nurse.daemon.store.fail_with(Code::kUnavailable);
  nurse.start();
  for (int i = 0; i < 100; ++i) nurse.healer.note_degraded("key" + std::to_string(i));
  wait(1min);
  EXPECT_GE(nurse.daemon.store.calls.get, 2);
  EXPECT_LE(nurse.daemon.store.calls.get, 13);
}

TEST_F(HealerTest, a_region_that_comes_back_has_all_keys_looked_at) {
  make_degraded("orders");
  make_degraded("bills");
  Nurse nurse(world);
  nurse.daemon.region[2]->fail_with(Code::kUnavailable);
  nurse.start();
  nurse.healer.note_degraded("orders");
  wait(30min);  // the next try is minutes away
  nurse.daemon.region[2]->heal();
  nurse.healer.note_recovered("c");
  wait(10s);
  EXPECT_EQ(wraps("orders"), 3u);
  EXPECT_EQ(wraps("bills"), 3u);  // which nobody noted
  EXPECT_TRUE(nurse.healer.status().last_scan);
}

TEST_F(HealerTest, a_region_that_comes_and_goes_causes_no_scan_after_the_other) {
  Nurse nurse(world);
  nurse.start();
  for (int i = 0; i < 100; ++i) {
    nurse.healer.note_recovered("c");
    wait(1s);
  }
  EXPECT_GE(nurse.daemon.store.calls.list, 1);
  EXPECT_LE(nurse.daemon.store.calls.list, 3);
}

TEST_F(HealerTest, goes_through_the_store_by_itself_now_and_then) {
  make_degraded("orders");
  Nurse nurse(world);
  nurse.start();
  wait(50s);
  EXPECT_EQ(nurse.daemon.store.calls.all(), 0);
  // What an earlier daemon left degraded is found soon after the start.
  wait(20s);
  EXPECT_EQ(wraps("orders"), 3u);
  EXPECT_EQ(nurse.daemon.store.calls.list, 1);
  make_degraded("bills");
  wait(5h);
  EXPECT_EQ(wraps("bills"), 2u);
  wait(2h);
  EXPECT_EQ(wraps("bills"), 3u);
  EXPECT_EQ(nurse.daemon.store.calls.list, 2);
}

TEST_F(HealerTest, a_host_that_may_not_scan_works_off_what_it_has_seen_and_scans_once_it_may) {
  make_degraded("orders");
  make_degraded("bills");
  bool mine = false;
  HealOptions options;
  options.may_scan = [&mine] { return mine; };
  Nurse nurse(world, options);
  nurse.start();
  nurse.healer.note_degraded("orders");
  nurse.healer.note_recovered("c");
  wait(10h);
  EXPECT_EQ(wraps("orders"), 3u);
  EXPECT_EQ(wraps("bills"), 2u);
  EXPECT_EQ(nurse.daemon.store.calls.list, 0);
  EXPECT_FALSE(nurse.healer.status().scans);
  EXPECT_FALSE(nurse.healer.status().last_scan);
  mine = true;
  wait(20s);
  EXPECT_EQ(wraps("bills"), 3u);
  EXPECT_EQ(nurse.daemon.store.calls.list, 1);
  EXPECT_TRUE(nurse.healer.status().scans);
  EXPECT_TRUE(nurse.healer.status().last_scan);
}
}  // namespace
}  // namespace keyfs
