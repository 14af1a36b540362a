#include "fs/upkeep/healer.h"

#include <functional>
#include <optional>

#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::World;
using namespace std::chrono_literals;

// A daemon whose healer runs in the background from start() on.
struct Nurse {
  explicit Nurse(World& shared, HealOptions options = {})
      : world(shared),
        daemon(shared),
        healer(shared.time.loop, daemon.store, *daemon.regions, shared.log.log(), options),
        running(shared.time.loop) {}

  void start() {
    const auto run = [](Healer& all) -> Task<bool> {
      co_await all.run();
      co_return true;
    };
    running.start(run(healer));
  }
  HealReport heal(std::vector<std::string> ids = {}) {
    return world.time.loop.run_task(healer.run_once(std::move(ids), TimePoint::max())).value();
  }

  World& world;
  Daemon daemon;
  Healer healer;
  TaskGroup<bool> running;
};

struct HealerTest : KeyringTest {
  // Creates a key that lacks region c, and returns it.
  std::string make_degraded(const std::string& id) {
    Daemon maker(world);
    maker.region[2]->fail_with(Code::kUnavailable);
    return maker.read(id);
  }
  // What a daemon with only this region reads.
  std::string read_from(size_t region, const std::string& id) {
    Daemon reader(world);
    for (size_t i = 0; i < 3; ++i) {
      if (i != region) reader.region[i]->fail_with(Code::kDenied);
    }
    return reader.read(id, false);
  }
  size_t wraps(const std::string& id) { return stored(id).versions.at(1).wrapped.size(); }
};

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

struct WritingNotebook final : Notebook {
  Task<Result<void>> prove() override { co_return Result<void>(); }
  Task<Result<void>> write_down(Stored stored, bool) override {
    if (fails) co_return fail(Code::kUnavailable, "the disk is full");
    noted.push_back(std::move(stored.record));
    co_return Result<void>();
  }
  Task<Result<void>> write_seen(std::vector<SeenKey> keys) override {
    if (fails) co_return fail(Code::kUnavailable, "the disk is full");
    ++writes_of_seen;
    for (SeenKey& key : keys) seen.push_back(std::move(key.id));
    co_return Result<void>();
  }
  bool fails = false;
  std::vector<Record> noted;
  std::vector<std::string> seen;
  int writes_of_seen = 0;
};

struct HealerMemory : HealerTest {
  HealReport heal(std::vector<std::string> ids = {}) {
    Healer healer(world.time.loop, daemon.store, *daemon.regions, world.log.log(), HealOptions{},
                  &memory, &notebook);
    return world.time.loop.run_task(healer.run_once(std::move(ids), TimePoint::max())).value();
  }
  Daemon daemon{world};
  testing::ScriptedMemory memory{world.time.loop};
  WritingNotebook notebook;
};

TEST_F(HealerMemory, a_record_that_went_back_is_not_filled_in) {
  make_degraded("orders");
  const Record before = stored("orders");
  Record deleted = before;
  deleted.state = KeyState::kDeleted;
  ++deleted.serial;
  memory.knows(deleted);
  const HealReport report = heal();
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures[0].error.code, Code::kCorrupt);
  EXPECT_EQ(stored("orders"), before);
  EXPECT_EQ(daemon.region_calls(), 0);
}

TEST_F(HealerMemory, what_was_filled_in_is_noted_on_this_host) {
  make_degraded("orders");
  memory.knows(stored("orders"));
  const HealReport report = heal();
  EXPECT_EQ(report.healed, 1u);
  EXPECT_TRUE(report.unnoted.empty());
  ASSERT_EQ(notebook.noted.size(), 1u);
  EXPECT_EQ(notebook.noted[0], stored("orders"));
}

TEST_F(HealerMemory, a_record_that_was_looked_at_was_seen_whole_or_damaged) {
  Daemon(world).read("whole");
  world.records->write_raw("damaged", "{");
  heal({"whole", "damaged", "absent"});
  EXPECT_TRUE(notebook.noted.empty()) << "nothing was changed";
  EXPECT_EQ(notebook.seen, (std::vector<std::string>{"whole", "damaged"}));
  EXPECT_EQ(notebook.writes_of_seen, 1) << "each is synced";
  EXPECT_EQ(memory.seen, notebook.seen) << "a daemon has only this one";
}

TEST_F(HealerMemory, a_memory_that_is_out_stops_no_healing_and_that_is_told) {
  make_degraded("orders");
  memory.hangs = true;
  notebook.fails = true;
  const HealReport report = heal();
  EXPECT_EQ(report.healed, 1u);
  EXPECT_EQ(wraps("orders"), 3u);
  ASSERT_EQ(report.unnoted.size(), 1u);
  EXPECT_EQ(report.unnoted[0].id, "orders");
  EXPECT_TRUE(report.unseen);
}

}  // namespace
}  // namespace keyfs
