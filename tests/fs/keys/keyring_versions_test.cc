// Versions of a key on a daemon: old ones cost nothing, end alone, and never take the place of the
// new one.
#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::ScriptedMemory;
using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

struct KeyringVersions : testing::ReplicatedTest {
  // The next read has the key checked, and it is.
  void check(Daemon& daemon, uint32_t version = 0) {
    wait(61s);
    version == 0 ? daemon.read("orders") : daemon.read_version("orders", version);
    wait(1s);
  }
  // A daemon that has served both versions.
  struct Both {
    std::string first, second;
  };
  Both serve_both(Daemon& daemon) {
    Both keys;
    keys.first = daemon.read("orders");
    keys.second = rotate(daemon, "orders");
    check(daemon);
    EXPECT_EQ(daemon.read("orders"), keys.second);
    EXPECT_EQ(daemon.read_version("orders", 1), keys.first);
    daemon.seen.changed.clear();
    return keys;
  }
};

TEST_F(KeyringVersions, after_an_announced_rotation_version_1_costs_no_call_with_all_regions_down) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  const std::string first = one.read("orders");
  EXPECT_EQ(one.read("orders"), first);
  const std::string second = rotate(one, "orders");
  announce(one, "orders");
  wait(1s);
  EXPECT_EQ(one.seen.changed, Lines{"orders 1-2"});
  EXPECT_EQ(one.read("orders"), second);
  one.regions_fail(Code::kUnavailable);
  one.forget();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(one.read_version("orders", 1), first);
    wait(1min);
  }
  EXPECT_EQ(one.read("orders"), second);
  EXPECT_EQ(one.store.calls.get, 0);
  EXPECT_EQ(one.region_calls(), 0);
}

TEST_F(KeyringVersions, after_a_rotation_seen_by_a_refresh_version_1_costs_no_region) {
  Daemon one(world, nullptr, kShort);
  const Both keys = serve_both(one);
  one.regions_fail(Code::kUnavailable);
  one.forget();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(one.read_version("orders", 1), keys.first);
  EXPECT_EQ(one.store.calls.get, 0);
  for (int i = 0; i < 20; ++i) {
    check(one, 1);
    ASSERT_EQ(one.read_version("orders", 1), keys.first);
  }
  EXPECT_EQ(one.store.calls.get, 20) << "one confirmation of the record";
  EXPECT_EQ(one.region_calls(), 0);
  EXPECT_EQ(one.read("orders"), keys.second);
}

TEST_F(KeyringVersions, while_no_region_unwraps_a_new_version_the_one_before_is_served_on) {
  for (const bool live : {true, false}) {
    SCOPED_TRACE(live ? "announced" : "seen by a refresh");
    Daemon one(world, nullptr, kShort);
    if (live) one.keyring->on_live(true, now());
    const std::string id = live ? "orders" : "invoices";
    const std::string first = one.read(id);
    const std::string second = rotate(one, id);
    one.regions_fail(Code::kUnavailable);
    if (live) {
      announce(one, id);
    } else {
      wait(61s);
      one.read(id);
    }
    for (int i = 0; i < 8; ++i) {
      wait(61s);
      ASSERT_EQ(one.read(id), first) << i;
      ASSERT_EQ(one.read_version(id, 1), first) << i;
    }
    EXPECT_EQ(one.seen.changed, Lines{});
    one.regions_heal();
    wait(61s);  // nobody reads it
    EXPECT_EQ(one.seen.changed, Lines{id + " 1-2"});
    EXPECT_EQ(one.read(id), second);
  }
}

TEST_F(KeyringVersions, a_version_that_was_overtaken_is_served_on_up_to_the_bound_and_not_longer) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  const std::string first = one.read("orders");
  wait(1h);
  rotate(one, "orders");
  one.regions_fail(Code::kUnavailable);
  announce(one, "orders");
  wait(kShort.serve_stale_for - 1s);
  EXPECT_EQ(one.read("orders"), first);
  wait(2s);
  EXPECT_EQ(one.read("orders"), "unavailable");
}

TEST_F(KeyringVersions, what_a_new_record_refuses_ends_although_no_region_unwraps_what_is_new) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  one.read("orders");
  rotate(one, "orders");
  retire("orders", 2);
  one.regions_fail(Code::kUnavailable);
  announce(one, "orders");
  EXPECT_EQ(one.read("orders"), "unavailable");
  EXPECT_EQ(one.read_version("orders", 1), "revoked");
}

TEST_F(KeyringVersions, the_new_version_of_a_key_in_use_is_fetched_before_the_next_read) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  one.read("orders");
  one.read("orders");
  const std::string second = rotate(one, "orders");
  announce(one, "orders");
  wait(1s);
  one.regions_fail(Code::kUnavailable);
  EXPECT_EQ(one.read("orders"), second);
}

TEST_F(KeyringVersions, a_version_that_was_read_by_number_is_cached) {
  Daemon(world).read("orders");
  Daemon maker(world);
  rotate(maker, "orders");
  Daemon one(world, nullptr, kShort);
  const std::string first = one.read_version("orders", 1);
  EXPECT_EQ(first.size(), 32u);
  one.regions_fail(Code::kUnavailable);
  one.forget();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(one.read_version("orders", 1), first);
  EXPECT_EQ(one.store.calls.get, 0);
  check(one, 1);
  EXPECT_EQ(one.read_version("orders", 1), first);
  EXPECT_EQ(one.region_calls(), 0) << "nobody reads the current one";
  EXPECT_EQ(one.seen.refreshed, 1);
}

TEST_F(KeyringVersions, a_lagging_replica_region_never_brings_version_1_back) {
  auto records = open_replica();
  for (const bool refers : {true, false}) {
    SCOPED_TRACE(refers ? "a node remembers" : "the host's replica remembers");
    Daemon one(world, refers ? nullptr : records.get(), kShort);
    KeyRef held;
    if (refers) held = one.cache.acquire("orders");
    one.read("orders");
    one.behind->fall_behind(*world.records, "orders");
    const std::string second = rotate(one, "orders");
    check(one);
    ASSERT_EQ(one.read("orders"), second);
    for (int i = 0; i < 20; ++i) {
      one.cache.shrink(100);
      ASSERT_EQ(one.read("orders"), second) << i;
      const auto info = world.time.loop.run_task(one.keyring->describe("orders", now() + 10s));
      ASSERT_EQ((*info)->version, stored("orders").current);
      wait(20s);
    }
    if (!refers) flush(*records);
    one.behind->catch_up();
  }
}

TEST_F(KeyringVersions, a_read_that_saw_version_1_gives_2_if_this_daemon_has_served_it_meanwhile) {
  Daemon(world).read("orders");
  Daemon one(world);
  const KeyRef held = one.cache.acquire("orders");
  for (auto* region : one.region) region->answer_after(100ms);
  std::string told;
  world.time.loop.spawn([](Daemon* daemon, std::string* out) -> Task<void> {
    *out = Daemon::told(co_await daemon->opening("orders", false));
  }(&one, &told));
  while (one.unwraps() == 0) world.time.loop.turn(true);
  Daemon maker(world);
  const std::string second = rotate(maker, "orders");  // and nobody announces it
  for (auto* region : one.region) region->heal();
  ASSERT_EQ(one.read_version("orders", 2), second);
  one.cache.shrink(100);
  while (told.empty()) world.time.loop.turn(true);
  EXPECT_EQ(told, second);
}

TEST_F(KeyringVersions, a_retired_version_ends_by_refresh_and_the_others_go_on) {
  Daemon one(world, nullptr, kShort);
  const Both keys = serve_both(one);
  retire("orders", 2);
  wait(30s);
  EXPECT_EQ(one.read_version("orders", 1), keys.first) << "within fresh_for";
  check(one, 1);
  EXPECT_EQ(one.seen.ended, Lines{"orders/1"});
  EXPECT_EQ(one.arena.usage().secrets, 1u);
  EXPECT_EQ(one.read_version("orders", 1), "revoked");
  EXPECT_EQ(one.read("orders"), keys.second);
  EXPECT_EQ(one.read_version("orders", 2), keys.second);
  wait(10s);
  EXPECT_EQ(one.read_version("orders", 1), "revoked") << "asked again";
  retire("orders", 1);
  wait(10s);
  EXPECT_EQ(one.read_version("orders", 1), keys.first) << "it is reversible";
}

TEST_F(KeyringVersions, an_announced_retirement_ends_a_version_at_the_next_read) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  const KeyRef held = one.cache.acquire("orders");  // as a mount has it
  const std::string first = one.read("orders");
  const std::string second = rotate(one, "orders");
  announce(one, "orders");
  wait(1s);
  EXPECT_EQ(one.read("orders"), second);
  EXPECT_EQ(one.read_version("orders", 1), first);
  retire("orders", 2);
  announce(one, "orders");
  EXPECT_EQ(one.seen.ended, Lines{"orders/1"});
  EXPECT_EQ(one.arena.usage().secrets, 1u);
  EXPECT_EQ(one.cache.peek(*held, now(), 1).what, KeyCache::Peek::kRevoked);
  one.forget();
  wait(1h);
  EXPECT_EQ(one.read_version("orders", 1), "revoked");
  EXPECT_EQ(one.read("orders"), second);
  EXPECT_EQ(one.store.calls.get, 0);
}

TEST_F(KeyringVersions, a_destroyed_version_ends_and_leaves_the_replica) {
  auto records = open_replica();
  for (const bool live : {false, true}) {
    SCOPED_TRACE(live ? "announced" : "refreshed");
    Daemon one(world, records.get(), kShort);
    const std::string id = live ? "live" : "asked";
    const std::string first = one.read(id);
    const std::string second = rotate(one, id);
    retire(id, 2);
    destroy(id, 1);
    if (live) {
      one.keyring->on_live(true, now());
      announce(one, id);
    } else {
      wait(61s);
      one.read(id);
      wait(1s);
    }
    EXPECT_EQ(one.seen.ended, Lines{id + "/1"});
    EXPECT_EQ(one.read_version(id, 1), "revoked");
    EXPECT_EQ(one.read(id), second);
    flush(*records);
    const auto found = world.time.loop.run_task(records->get(id));
    ASSERT_TRUE(found && *found);
    EXPECT_TRUE((*found)->stored.record.versions.at(1).wrapped.empty());
    Daemon next(world, records.get(), kShort);
    next.store.fail_with(Code::kUnavailable);
    EXPECT_EQ(next.read_version(id, 1), "revoked");
    EXPECT_EQ(next.read(id), second);
    one.keyring->on_live(false, now());
  }
}

TEST_F(KeyringVersions, a_retired_version_is_refused_by_the_replica_too) {
  auto records = open_replica();
  {
    Daemon one(world, records.get(), kShort);
    serve_both(one);
    retire("orders", 2);
    check(one);
    flush(*records);
  }
  Daemon next(world, records.get(), kShort);
  next.store.fail_with(Code::kUnavailable);
  EXPECT_EQ(next.read_version("orders", 1), "revoked");
  EXPECT_EQ(next.read("orders").size(), 32u);
}

TEST_F(KeyringVersions, disabling_ends_all_versions_and_enabling_brings_all_back) {
  for (const bool live : {false, true}) {
    SCOPED_TRACE(live ? "announced" : "refreshed");
    const std::string id = live ? "live" : "asked";
    Daemon one(world, nullptr, kShort);
    const KeyRef held = one.cache.acquire(id);
    const std::string first = one.read(id);
    const std::string second = rotate(one, id);
    if (live) one.keyring->on_live(true, now());
    one.cache.drop(*held);
    EXPECT_EQ(one.read(id), second);
    EXPECT_EQ(one.read_version(id, 1), first);
    set_state(id, KeyState::kDisabled);
    if (live) {
      announce(one, id);
    } else {
      wait(61s);
      one.read_version(id, 1);
      wait(1s);
    }
    EXPECT_EQ(one.seen.ended, Lines{id});
    EXPECT_EQ(one.arena.usage().secrets, 0u);
    EXPECT_EQ(one.read_version(id, 1), "revoked");
    EXPECT_EQ(one.read(id), "revoked");
    set_state(id, KeyState::kEnabled);
    if (live) announce(one, id);
    wait(2s);
    EXPECT_EQ(one.read_version(id, 1), first);
    EXPECT_EQ(one.read(id), second);
  }
}

TEST_F(KeyringVersions, a_check_value_of_an_older_version_that_was_tampered_with_ends_the_key) {
  for (const bool live : {false, true}) {
    SCOPED_TRACE(live ? "announced" : "refreshed");
    const std::string id = live ? "live" : "asked";
    Daemon one(world, nullptr, kShort);
    if (live) one.keyring->on_live(true, now());
    one.read(id);
    const std::string second = rotate(one, id);
    if (live) {
      announce(one, id);
    } else {
      wait(61s);
      one.read(id);
    }
    wait(1s);
    EXPECT_EQ(one.read(id), second);
    EXPECT_EQ(one.read_version(id, 1).size(), 32u);
    change(id, [](Record& record) { (*record.versions.at(1).check)[0] ^= 1; });
    if (live) {
      announce(one, id);
    } else {
      wait(61s);
      one.read_version(id, 1);
    }
    wait(1s);
    EXPECT_EQ(one.seen.ended, Lines{id});
    EXPECT_EQ(one.read_version(id, 1), "corrupt");
  }
}

TEST_F(KeyringVersions, all_versions_are_stale_up_to_the_bound_and_not_longer) {
  Daemon one(world, nullptr, kShort);
  const Both keys = serve_both(one);
  const TimePoint begin = now();
  one.store.fail_with(Code::kUnavailable);
  while (now() - begin < 9min) {
    EXPECT_EQ(one.read("orders"), keys.second) << to_text(now() - begin);
    EXPECT_EQ(one.read_version("orders", 1), keys.first) << to_text(now() - begin);
    wait(20s);
  }
  wait(2min);
  EXPECT_EQ(one.read("orders"), "unavailable");
  EXPECT_EQ(one.read_version("orders", 1), "unavailable");
}

TEST_F(KeyringVersions, answers_that_may_be_old_do_not_lengthen_the_life_of_any_version) {
  Daemon one(world, nullptr, kShort);
  const KeyRef held = one.cache.acquire("orders");
  const Both keys = serve_both(one);
  one.behind->fall_behind(*world.records, "orders");
  one.behind->cut_off = true;
  const TimePoint begin = now();
  while (now() - begin < 9min) {
    one.cache.shrink(100);
    EXPECT_EQ(one.read_version("orders", 1), keys.first) << to_text(now() - begin);
    EXPECT_EQ(one.read("orders"), keys.second);
    wait(20s);
  }
  wait(2min);
  EXPECT_EQ(one.read_version("orders", 1), "unavailable");
  EXPECT_EQ(one.read("orders"), "unavailable");
}

TEST_F(KeyringVersions, an_older_version_that_is_promoted_is_served_without_a_region) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  const std::string first = one.read("orders");
  const std::string second = rotate(one, "orders");
  announce(one, "orders");
  wait(1s);
  EXPECT_EQ(one.read("orders"), second);
  one.regions_fail(Code::kUnavailable);
  promote("orders", 1);
  announce(one, "orders");
  EXPECT_EQ(one.read("orders"), first);
  EXPECT_EQ(one.read_version("orders", 2), second);
  EXPECT_EQ(one.seen.changed, (Lines{"orders 1-2", "orders 2-1"}));
  promote("orders", 2);
  wait(1s);
  one.keyring->on_live(false, now());
  check(one);
  EXPECT_EQ(one.read("orders"), second) << "seen by a refresh";
  EXPECT_EQ(one.seen.changed.back(), "orders 1-2");
}

TEST_F(KeyringVersions, a_version_that_was_never_made_or_never_current_is_absent) {
  Daemon one(world);
  one.read("orders");
  rotate(one, "orders");
  change("orders", [](Record& record) {
    record.current = 1;
    record.pending = 2;
    record.versions.at(2).promoted.clear();
  });
  EXPECT_EQ(one.read_version("orders", 2), "absent");
  EXPECT_EQ(one.read_version("orders", 7), "absent");
  EXPECT_EQ(one.read_version("nothing", 1), "absent");
  EXPECT_EQ(one.store.calls.put, 1);
}

TEST_F(KeyringVersions, a_version_that_a_lagging_replica_region_does_not_know_yet_is_read) {
  Daemon maker(world);
  const std::string first = maker.read("orders");
  Daemon one(world);
  one.behind->fall_behind(*world.records, "orders");
  const std::string second = rotate(maker, "orders");
  EXPECT_EQ(one.read_version("orders", 2), second);
  EXPECT_EQ(one.read_version("orders", 1), first);
  EXPECT_EQ(one.read_version("orders", 7), "absent") << "according to a strong answer";
}

TEST_F(KeyringVersions, a_version_is_not_absent_because_the_store_is_out) {
  auto records = open_replica();
  {
    Daemon one(world, records.get(), kShort);
    one.read("orders");
    flush(*records);
  }
  Daemon maker(world);
  rotate(maker, "orders");
  Daemon next(world, records.get(), kShort);
  next.store.fail_with(Code::kUnavailable);
  EXPECT_EQ(next.read_version("orders", 2), to_string(Code::kUnavailable));
  EXPECT_EQ(next.read_version("orders", 1).size(), 32u);
}

TEST_F(KeyringVersions, a_record_that_the_store_lost_is_corrupt_by_number_too) {
  auto records = open_replica();
  {
    Daemon one(world, records.get());
    one.read("orders");
    flush(*records);
  }
  world.records->erase("orders");
  Daemon next(world, records.get());
  EXPECT_EQ(next.read_version("orders", 1), "corrupt");
}

TEST_F(KeyringVersions, describe_tells_of_all_readable_versions) {
  Daemon one(world);
  one.read("orders");
  rotate(one, "orders");
  rotate(one, "orders");
  retire("orders", 2);
  one.forget();
  const auto info = world.time.loop.run_task(one.keyring->describe("orders", now() + 1s));
  ASSERT_TRUE(info && *info);
  EXPECT_EQ((*info)->version, 3u);
  ASSERT_EQ((*info)->versions.size(), 2u);
  EXPECT_EQ((*info)->versions.begin()->first, 2u);
  EXPECT_EQ((*info)->versions.at(2).bytes, 32u);
  EXPECT_EQ(*(*info)->versions.at(2).regions, (Lines{"a", "b", "c"}));
  EXPECT_EQ(one.region_calls(), 0);
}

TEST_F(KeyringVersions,
       a_key_that_was_rotated_while_its_creation_was_kept_is_not_cached_as_current) {
  ScriptedMemory memory(world.time.loop);
  memory.keeping = 1s;
  memory.says(Recall::What::kNever);
  Daemon one(world, &memory, kShort);
  const KeyRef held = one.cache.acquire("orders");
  one.keyring->on_live(true, now());
  std::string told;
  world.time.loop.spawn([](Daemon* daemon, std::string* out) -> Task<void> {
    *out = Daemon::told(co_await daemon->opening("orders", true));
  }(&one, &told));
  while (!world.records->find("orders")) world.time.loop.turn(true);
  wait(100ms);
  Daemon maker(world);
  const std::string second = rotate(maker, "orders");
  announce(one, "orders");
  while (told.empty()) world.time.loop.turn(true);
  EXPECT_EQ(told.size(), 32u);
  EXPECT_EQ(one.read("orders"), second);
}

}  // namespace
}  // namespace keyfs
