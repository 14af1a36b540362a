#include "fs/upkeep/healer.h"

#include <functional>
#include <optional>

#include "fs/upkeep/healer_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::HealerTest;
using testing::Nurse;
using namespace std::chrono_literals;

TEST_F(HealerTest, fills_in_the_region_that_was_out_when_the_key_was_made) {
  const std::string key = make_degraded("orders");
  ASSERT_EQ(wraps("orders"), 2u);
  Nurse nurse(world);
  const HealReport report = nurse.heal();
  EXPECT_EQ(report.keys, 1u);
  EXPECT_EQ(report.healed, 1u);
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(wraps("orders"), 3u);
  // The plaintext is unchanged, also through the new region.
  EXPECT_EQ(key.size(), 32u);
  EXPECT_EQ(read_from(2, "orders"), key);
}

TEST_F(HealerTest, touches_no_wrap_that_exists_and_nothing_else_of_the_record) {
  make_degraded("orders");
  const Record before = stored("orders");
  Nurse nurse(world);
  nurse.heal();
  Record after = stored("orders");
  ASSERT_EQ(after.versions.at(1).wrapped.erase("c"), 1u);
  EXPECT_EQ(after, before);
}

TEST_F(HealerTest, a_wrap_that_is_seen_to_be_wrong_while_another_is_filled_in_is_replaced) {
  {
    Daemon maker(world);
    maker.region[2]->fail_with(Code::kUnavailable);
    maker.region[0]->fault.broken_blob = true;
    maker.read("orders");
  }
  const Wrap broken = stored("orders").versions.at(1).wrapped.at("a");
  Nurse nurse(world);
  EXPECT_EQ(nurse.heal().mended, 1u);
  EXPECT_NE(stored("orders").versions.at(1).wrapped.at("a"), broken);
  EXPECT_TRUE(world.log.has("is not what was wrapped"));
  EXPECT_EQ(read_from(0, "orders"), read_from(1, "orders"));
  EXPECT_EQ(wraps("orders"), 3u);
}

TEST_F(HealerTest, wraps_no_key_whose_check_value_differs) {
  make_degraded("orders");
  const Record before = stored("orders");
  Nurse nurse(world);
  nurse.daemon.region[0]->fault.wrong_key = true;
  nurse.daemon.region[1]->fail_with(Code::kUnavailable);
  const HealReport report = nurse.heal();
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures[0].id, "orders");
  EXPECT_EQ(report.failures[0].error.code, Code::kCorrupt);
  EXPECT_EQ(nurse.daemon.region[2]->calls.wrap, 0);
  EXPECT_EQ(stored("orders"), before);
}

TEST_F(HealerTest, a_whole_key_costs_no_look_at_its_record) {
  Daemon(world).read("orders");
  Nurse nurse(world);
  EXPECT_EQ(nurse.heal().whole, 1u);
  EXPECT_EQ(nurse.daemon.store.calls.get, 1) << "only whether it is the store";
  EXPECT_EQ(nurse.daemon.region_calls(), 0);
}

TEST_F(HealerTest, another_writers_change_is_kept_and_told_and_the_key_healed_all_the_same) {
  make_degraded("orders");
  Nurse nurse(world);
  nurse.daemon.store.before_write = [&] { set_state("orders", KeyState::kDisabled); };
  const HealReport report = nurse.heal();
  EXPECT_EQ(report.healed, 1u);
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(stored("orders").state, KeyState::kDisabled);
  EXPECT_EQ(wraps("orders"), 3u);
  EXPECT_EQ(nurse.daemon.store.calls.replace, 2);
  EXPECT_TRUE(world.log.has("the record of key orders was changed by another process"));
}

TEST_F(HealerTest, a_record_that_others_keep_changing_is_a_failure_and_their_word_stands) {
  make_degraded("orders");
  Nurse nurse(world);
  KeyState state = KeyState::kEnabled;
  std::function<void()> meddle = [&] {
    state = state == KeyState::kEnabled ? KeyState::kDisabled : KeyState::kEnabled;
    set_state("orders", state);
    nurse.daemon.store.before_write = meddle;
  };
  nurse.daemon.store.before_write = meddle;
  const HealReport report = nurse.heal();
  nurse.daemon.store.before_write = nullptr;
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures[0].error.code, Code::kUnavailable);
  EXPECT_EQ(stored("orders").state, state);
  EXPECT_EQ(wraps("orders"), 2u);
}

TEST_F(HealerTest, deleted_keys_are_left_alone_and_disabled_ones_are_healed) {
  make_degraded("deleted");
  make_degraded("disabled");
  set_state("deleted", KeyState::kDeleted);
  set_state("disabled", KeyState::kDisabled);
  Nurse nurse(world);
  EXPECT_EQ(nurse.heal().healed, 1u);
  EXPECT_EQ(wraps("deleted"), 2u);
  EXPECT_EQ(wraps("disabled"), 3u);
  EXPECT_EQ(nurse.heal({"deleted"}).whole, 1u);
  EXPECT_EQ(wraps("deleted"), 2u);
}

TEST_F(HealerTest, the_report_tells_whole_healed_missing_and_failed_apart) {
  make_degraded("healed");
  Daemon(world).read("whole");
  world.records->write_raw("broken", "{");
  Nurse nurse(world);
  const HealReport first = nurse.heal();
  EXPECT_EQ(first.keys, 3u);
  EXPECT_EQ(first.whole, 1u);
  EXPECT_EQ(first.healed, 1u);
  ASSERT_EQ(first.failures.size(), 1u);
  EXPECT_EQ(first.failures[0].id, "broken");
  EXPECT_EQ(first.failures[0].error.code, Code::kCorrupt);
  EXPECT_FALSE(first.complete());

  make_degraded("missing");
  nurse.daemon.region[2]->fail_with(Code::kDenied, "the master is disabled");
  const HealReport second = nurse.heal({"missing", "nowhere"});
  EXPECT_EQ(second.keys, 2u);
  ASSERT_EQ(second.missing.size(), 1u);
  EXPECT_EQ(second.missing[0].id, "missing");
  ASSERT_EQ(second.missing[0].regions.size(), 1u);
  EXPECT_EQ(second.missing[0].regions[0].region, "c");
  EXPECT_NE(second.missing[0].regions[0].error.message.find("the master is disabled"),
            std::string::npos);
  ASSERT_EQ(second.failures.size(), 1u);
  EXPECT_EQ(second.failures[0].error.code, Code::kInvalid);
}

TEST_F(HealerTest, a_region_that_shares_a_multi_region_key_with_another_needs_no_wrap) {
  world.masters[2] = world.masters[0];
  const std::string key = make_degraded("orders");
  Nurse nurse(world);
  const HealReport report = nurse.heal();
  EXPECT_EQ(report.whole, 1u);
  EXPECT_EQ(nurse.daemon.region_calls(), 0);
  EXPECT_EQ(wraps("orders"), 2u);
  EXPECT_EQ(read_from(2, "orders"), key);
  // Nor is it reported as degraded when read.
  EXPECT_TRUE(nurse.daemon.seen.degraded.empty());
  nurse.daemon.read("orders", false);
  EXPECT_TRUE(nurse.daemon.seen.degraded.empty());
}

TEST_F(HealerTest, calls_are_spread_over_time) {
  for (int i = 0; i < 10; ++i) make_degraded("key" + std::to_string(i));
  HealOptions options;
  options.calls_per_second = 2;
  Nurse nurse(world, options);
  const TimePoint begin = now();
  EXPECT_EQ(nurse.heal().healed, 10u);
  EXPECT_EQ(nurse.daemon.region_calls(), 20);  // an unwrap and a wrap each
  EXPECT_GE(now() - begin, 9s);
}

TEST_F(HealerTest, its_pace_is_shared_with_others) {
  for (int i = 0; i < 5; ++i) make_degraded("key" + std::to_string(i));
  CallPace pace(world.time.loop);
  HealOptions options;
  options.calls_per_second = 2;
  options.pace = &pace;
  Nurse nurse(world, options);
  const auto others = [](CallPace& all) -> Task<bool> {
    co_await all.take(20, 2);
    co_return true;
  };
  world.time.loop.run_task(others(pace));
  const TimePoint begin = now();
  EXPECT_EQ(nurse.heal().healed, 5u);
  EXPECT_GE(now() - begin, 14s);
}

TEST_F(HealerTest, a_scan_reads_no_record_of_a_key_that_is_whole_by_a_multi_region_master) {
  world.masters[2] = world.masters[0];
  make_degraded("orders");
  Nurse nurse(world);
  EXPECT_EQ(nurse.heal().whole, 1u);
  EXPECT_EQ(nurse.daemon.store.calls.get, 1) << "only whether it is the store";
}

TEST_F(HealerTest, a_pass_ends_at_its_deadline_and_says_how_far_it_came) {
  for (int i = 0; i < 10; ++i) make_degraded("key" + std::to_string(i));
  HealOptions options;
  options.calls_per_second = 1;
  Nurse nurse(world, options);
  const auto report = world.time.loop.run_task(nurse.healer.run_once({}, now() + 5s));
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kTimeout);
  EXPECT_NE(report.error().message.find("the deadline passed after"), std::string::npos);
}

// As one that is stopped: each call takes all the time that it is given.
struct SilentStore final : Store {
  explicit SilentStore(Loop& on) : loop(on) {}
  template <class T>
  Task<Result<T>> silence(TimePoint until) {
    ++calls;
    co_await loop.sleep_until(until);
    co_return fail(Code::kTimeout, "no reply");
  }
  Task<Result<std::string>> identity(TimePoint until) override {
    return silence<std::string>(until);
  }
  Task<Result<Got>> get(std::string, Read, TimePoint until) override { return silence<Got>(until); }
  Task<Result<PutResult>> put_if_absent(Record, TimePoint until) override {
    return silence<PutResult>(until);
  }
  Task<Result<std::optional<Stored>>> replace(Record, std::string, TimePoint until) override {
    return silence<std::optional<Stored>>(until);
  }
  Task<Result<ListPage>> list(std::string, size_t, TimePoint until) override {
    return silence<ListPage>(until);
  }
  Task<StoreCheck> check(TimePoint) override { co_return StoreCheck(); }

  Loop& loop;
  int calls = 0;
};

TEST_F(HealerTest, a_pass_over_all_keys_ends_with_its_first_call_when_the_store_is_silent) {
  Daemon daemon(world);
  SilentStore silent(world.time.loop);
  Healer healer(world.time.loop, silent, *daemon.regions, world.log.log(), {});
  const TimePoint begin = now();
  const auto report = world.time.loop.run_task(healer.run_once({}, TimePoint::max()));
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kTimeout);
  EXPECT_LE(now() - begin, HealOptions().call_deadline + 1s);
}

TEST_F(HealerTest, a_silent_store_is_waited_for_once_and_not_once_a_key) {
  Daemon daemon(world);
  SilentStore silent(world.time.loop);
  Healer healer(world.time.loop, silent, *daemon.regions, world.log.log(), {});
  const auto report =
      world.time.loop.run_task(healer.run_once({"orders", "bills", "users"}, TimePoint::max()));
  ASSERT_TRUE(report);
  EXPECT_EQ(silent.calls, 1);
  EXPECT_EQ(report->keys, 3u);
  ASSERT_EQ(report->failures.size(), 3u);
  EXPECT_EQ(report->failures[2].id, "users");
  EXPECT_NE(report->failures[2].error.message.find("not tried"), std::string::npos);
}

}  // namespace
}  // namespace keyfs
