#include "fs/keys/keyring.h"

#include <set>

#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using namespace std::chrono_literals;

TEST_F(KeyringTest, a_new_key_is_32_bytes_wrapped_in_every_region_and_stored_before_it_is_served) {
  Daemon one(world);
  const auto opened = one.open("orders", true);
  ASSERT_TRUE(opened && *opened) << Daemon::told(opened);
  EXPECT_TRUE((*opened)->created);
  EXPECT_EQ((*opened)->source, KeySource::kRegion);
  EXPECT_EQ((*opened)->key->key.size(), 32u);
  EXPECT_EQ((*opened)->key->version, 1u);
  const Record record = stored("orders");
  EXPECT_EQ(record.versions.at(1).wrapped.size(), 3u);
  EXPECT_EQ(record.versions.at(1).creator, "here");
  EXPECT_TRUE(record.versions.at(1).check);
  EXPECT_EQ(one.seen.made, 1);
  EXPECT_TRUE(one.seen.degraded.empty());
}

TEST_F(KeyringTest, a_creation_costs_one_generate_two_wraps_and_one_write) {
  Daemon one(world);
  one.read("orders");
  EXPECT_EQ(one.region_calls(), 3);
  EXPECT_EQ(one.unwraps(), 0);
  EXPECT_EQ(one.store.calls.get, 1);
  EXPECT_EQ(one.store.calls.put, 1);
}

TEST_F(KeyringTest, a_cold_read_costs_one_get_and_one_unwrap_and_a_warm_one_nothing) {
  Daemon one(world);
  const std::string key = one.read("orders");
  Daemon two(world);
  EXPECT_EQ(two.read("orders"), key);
  EXPECT_EQ(two.store.calls.all(), 1);
  EXPECT_EQ(two.region_calls(), 1);
  const auto warm = two.open("orders", true);
  EXPECT_EQ((*warm)->source, KeySource::kCache);
  EXPECT_EQ(two.store.calls.all(), 1);
  EXPECT_EQ(two.region_calls(), 1);
}

TEST_F(KeyringTest, whoever_may_not_create_is_told_that_it_is_absent) {
  Daemon one(world);
  EXPECT_EQ(one.read("orders", false), "absent");
  EXPECT_EQ(one.region_calls(), 0);
  EXPECT_FALSE(world.records->find("orders"));
}

TEST_F(KeyringTest, loser_of_a_create_race_serves_the_winners_key) {
  Daemon one(world);
  const std::string winner = one.read("orders");
  const std::string record = world.records->find("orders")->json;
  world.records->erase("orders");

  // The winner's record arrives between two's look into the store and its write.
  Daemon two(world);
  two.store.before_write = [&] { world.records->write_raw("orders", record); };
  const auto loser = two.open("orders", true);
  EXPECT_EQ(Daemon::told(loser), winner);
  EXPECT_FALSE((*loser)->created);
  EXPECT_EQ(two.seen.lost_races, 1);
  EXPECT_EQ(two.seen.made, 0);
  EXPECT_EQ(world.records->find("orders")->json, record);
  // Its own key is wiped: the arena holds the served one alone.
  EXPECT_EQ(two.arena.usage().secrets, 1u);
  // The winner's record came with the lost write.
  EXPECT_EQ(two.store.calls.get, 1);
  EXPECT_EQ(two.unwraps(), 1);
}

TEST_F(KeyringTest, eight_daemons_that_create_at_once_serve_one_key_per_id) {
  std::vector<std::unique_ptr<Daemon>> daemons;
  for (int i = 0; i < 8; ++i) {
    daemons.push_back(std::make_unique<Daemon>(world));
    daemons.back()->store.fault.delay = std::chrono::milliseconds(1 + i % 3);
    daemons.back()->region[static_cast<size_t>(i % 3)]->answer_after(2ms);
  }
  std::map<std::string, std::set<std::string>> keys;
  const auto all = [&]() -> Task<bool> {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    std::map<size_t, std::string> ids;
    for (int n = 0; n < 20; ++n) {
      for (auto& daemon : daemons) {
        const std::string id = "id" + std::to_string(n);
        ids[group.start(daemon->opening(id, true))] = id;
      }
    }
    while (auto one = co_await group.next()) {
      keys[ids[one->number]].insert(Daemon::told(one->value));
    }
    co_return true;
  };
  world.time.loop.run_task(all());
  EXPECT_EQ(keys.size(), 20u);
  for (const auto& [id, seen] : keys) {
    EXPECT_EQ(seen.size(), 1u) << id;
    EXPECT_EQ(seen.begin()->size(), 32u) << *seen.begin();
  }
}

TEST_F(KeyringTest, a_write_whose_reply_is_lost_is_served_from_the_record_later) {
  Daemon one(world);
  one.store.fault.lose_reply.emplace(Code::kUnavailable, "the outcome is unknown");
  EXPECT_EQ(one.read("orders"), "unavailable");
  EXPECT_EQ(one.arena.usage().secrets, 0u);  // nothing is kept of a key that may not be the key
  one.store.heal();
  const std::string key = one.read("orders");
  EXPECT_EQ(key.size(), 32u);
  Daemon two(world);
  EXPECT_EQ(two.read("orders"), key);
  EXPECT_EQ(one.store.calls.put, 1);
}

TEST_F(KeyringTest, a_thousand_cold_readers_of_one_id_cost_one_unwrap) {
  Daemon maker(world);
  const std::string key = maker.read("orders");
  Daemon one(world);
  one.region[0]->answer_after(20ms);
  const auto all = [&]() -> Task<int> {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    for (int i = 0; i < 1000; ++i) group.start(one.opening("orders", i % 2 == 0));
    int right = 0;
    while (auto reader = co_await group.next()) right += Daemon::told(reader->value) == key;
    co_return right;
  };
  EXPECT_EQ(world.time.loop.run_task(all()), 1000);
  EXPECT_EQ(one.unwraps(), 1);
  EXPECT_EQ(one.store.calls.get, 1);
}

TEST_F(KeyringTest, one_flight_serves_those_who_may_create_and_those_who_may_not) {
  for (const bool creator_first : {true, false}) {
    const std::string id = creator_first ? "x" : "y";
    Daemon one(world);
    one.store.fault.delay = 10ms;
    const auto both = [&]() -> Task<std::set<std::string>> {
      TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
      group.start(one.opening(id, creator_first));
      group.start(one.opening(id, !creator_first));
      std::set<std::string> keys;
      while (auto reader = co_await group.next()) keys.insert(Daemon::told(reader->value));
      co_return keys;
    };
    const auto keys = world.time.loop.run_task(both());
    EXPECT_EQ(keys.size(), 1u);
    EXPECT_EQ(keys.begin()->size(), 32u) << *keys.begin();
    EXPECT_EQ(one.store.calls.get, 1);
  }
}

TEST_F(KeyringTest, a_creator_who_leaves_takes_his_permission_with_him) {
  Daemon one(world);
  one.store.fault.delay = 10ms;
  const auto both = [&]() -> Task<std::string> {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    const size_t creator = group.start(one.opening("orders", true));
    group.start(one.opening("orders", false));
    co_await world.time.loop.sleep_for(5ms);
    group.cancel(creator);
    co_return Daemon::told((co_await group.next())->value);
  };
  EXPECT_EQ(world.time.loop.run_task(both()), "absent");
  EXPECT_FALSE(world.records->find("orders"));
}

TEST_F(KeyringTest, a_creator_who_joins_at_any_moment_gets_a_key) {
  const auto open = [](Daemon* daemon, std::string id, bool create,
                       std::string* told) -> Task<void> {
    *told = Daemon::told(co_await daemon->opening(id, create));
  };
  int absent = 0;
  for (int after = 0; after < 40; ++after) {
    Daemon one(world);
    const std::string id = "id" + std::to_string(after);
    std::string reader, creator;
    world.time.loop.spawn(open(&one, id, false, &reader));
    turns(after);
    world.time.loop.spawn(open(&one, id, true, &creator));
    while (creator.empty() || reader.empty()) world.time.loop.turn(true);
    EXPECT_EQ(creator.size(), 32u) << creator;
    // The reader's flight may have been over, or still have heard of the creator.
    if (reader == "absent") {
      ++absent;
    } else {
      EXPECT_EQ(reader, creator) << after;
    }
  }
  EXPECT_GT(absent, 0);
  EXPECT_LT(absent, 40);
}

TEST_F(KeyringTest, the_last_waiter_out_ends_the_flight_and_nothing_is_written) {
  Daemon one(world);
  one.region[0]->hang();
  one.region[1]->hang();
  one.region[2]->hang();
  auto opening = one.opening("orders", true);
  {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    group.start(std::move(opening));
    turns(20);
    EXPECT_EQ(one.keyring->flights(), 1u);
    EXPECT_EQ(one.keyring->waiting(), 1u);
  }
  EXPECT_EQ(one.keyring->flights(), 0u);
  EXPECT_EQ(one.keyring->waiting(), 0u);
  EXPECT_EQ(one.region[0]->calls.under_way, 0);
  EXPECT_FALSE(world.records->find("orders"));
}

TEST_F(KeyringTest, a_write_under_way_is_finished_though_its_waiter_was_killed) {
  Daemon one(world);
  one.store.fault.late = 50ms;
  {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    group.start(one.opening("orders", true));
    while (one.store.calls.put == 0) world.time.loop.turn(true);
  }
  EXPECT_EQ(one.keyring->waiting(), 0u);
  EXPECT_EQ(one.keyring->flights(), 1u);
  wait(1s);
  EXPECT_EQ(one.keyring->flights(), 0u);
  const auto warm = one.open("orders", false);
  EXPECT_EQ((*warm)->source, KeySource::kCache);
  EXPECT_EQ(Daemon(world).read("orders", false), Daemon::told(warm));
}

TEST_F(KeyringTest, an_open_ends_at_its_deadline_with_the_reasons_of_the_regions) {
  Daemon maker(world);
  maker.read("orders");
  Daemon one(world);
  for (auto* region : one.region) region->hang();
  const TimePoint begin = now();
  const auto opened = one.open("orders", false, 2s);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kTimeout);
  EXPECT_LE(now() - begin, 2s);
  EXPECT_NE(opened.error().message.find("orders"), std::string::npos);
  EXPECT_NE(opened.error().message.find("b: "), std::string::npos) << opened.error().message;
}

TEST_F(KeyringTest, whoever_joins_a_flight_late_has_his_own_deadline) {
  Daemon maker(world);
  const std::string key = maker.read("orders");
  Daemon one(world);
  one.store.hang();
  const auto both = [&]() -> Task<std::vector<std::string>> {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    group.start(one.opening("orders", false, 2s));
    co_await world.time.loop.sleep_for(1s);
    group.start(one.opening("orders", false, 10s));
    std::vector<std::string> told;
    told.push_back(Daemon::told((co_await group.next())->value));
    one.store.heal();
    told.push_back(Daemon::told((co_await group.next())->value));
    co_return told;
  };
  EXPECT_EQ(world.time.loop.run_task(both())[0], "timeout");
  // The late reader's second flight began before the store recovered; it hangs to its own end, or
  // is served by a third.
  one.store.heal();
  EXPECT_EQ(one.read("orders"), key);
}

TEST_F(KeyringTest, too_many_waiting_opens_are_refused_at_once) {
  KeyringOptions options;
  options.waiting_opens = 3;
  Daemon one(world, nullptr, {}, options);
  one.store.hang();
  TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
  for (int i = 0; i < 3; ++i) group.start(one.opening("id" + std::to_string(i), false));
  turns(20);
  EXPECT_EQ(one.read("another"), "throttled");
}

TEST_F(KeyringTest, any_one_region_is_enough_to_read) {
  Daemon maker(world);
  const std::string key = maker.read("orders");
  for (size_t alive = 0; alive < 3; ++alive) {
    Daemon one(world);
    for (size_t i = 0; i < 3; ++i) {
      if (i != alive) one.region[i]->fail_with(i % 2 == 0 ? Code::kUnavailable : Code::kDenied);
    }
    EXPECT_EQ(one.read("orders"), key) << alive;
  }
}

TEST_F(KeyringTest, a_key_made_with_a_region_down_is_degraded_and_told_of) {
  Daemon one(world);
  one.region[1]->fail_with(Code::kUnavailable);
  EXPECT_EQ(one.read("orders").size(), 32u);
  EXPECT_EQ(stored("orders").versions.at(1).wrapped.size(), 2u);
  EXPECT_EQ(one.seen.degraded, std::vector<std::string>{"orders"});
}

TEST_F(KeyringTest, fewer_regions_than_required_create_nothing) {
  Daemon one(world);
  one.region[1]->fail_with(Code::kUnavailable);
  one.region[2]->fail_with(Code::kUnavailable);
  const auto opened = one.open("orders", true);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("could not create key orders"), std::string::npos)
      << opened.error().message;
  EXPECT_FALSE(world.records->find("orders"));
  EXPECT_EQ(one.arena.usage().secrets, 0u);
}

}  // namespace
}  // namespace keyfs
