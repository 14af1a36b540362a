// How long a key is served after its last confirmation, and when it stops.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using namespace std::chrono_literals;

struct KeyringFreshness : testing::ReplicatedTest {};

TEST_F(KeyringFreshness, a_refresh_of_an_unchanged_key_costs_one_get_and_no_region) {
  Daemon one(world, nullptr, kShort);
  const std::string key = one.read("orders");
  one.forget();
  wait(2min);
  EXPECT_EQ(one.read("orders"), key);  // served as it is, checked behind
  wait(1s);
  EXPECT_EQ(one.seen.refreshed, 1);
  EXPECT_EQ(one.store.calls.get, 1);
  EXPECT_EQ(one.region_calls(), 0);
  EXPECT_EQ(one.read("orders"), key);
  EXPECT_EQ(one.store.calls.get, 1);
}

TEST_F(KeyringFreshness, stale_is_served_up_to_the_bound_and_not_longer) {
  Daemon one(world, nullptr, kShort);
  const std::string key = one.read("orders");
  const TimePoint begin = now();
  one.store.fail_with(Code::kUnavailable);
  while (now() - begin < 10min) {
    EXPECT_EQ(one.read("orders"), key) << to_text(now() - begin);
    wait(20s);
  }
  wait(1s);
  EXPECT_EQ(one.read("orders"), "unavailable");
  one.store.heal();
  EXPECT_EQ(one.read("orders"), key);
}

TEST_F(KeyringFreshness, a_check_that_failed_is_not_tried_again_at_every_read) {
  Daemon one(world, nullptr, kShort);
  one.read("orders");
  wait(2min);
  one.store.fail_with(Code::kUnavailable);
  one.forget();
  for (int i = 0; i < 1000; ++i) one.read("orders");
  EXPECT_EQ(one.store.calls.get, 1);
}

TEST_F(KeyringFreshness, a_disabled_key_is_served_once_more_at_most_after_fresh_for) {
  Daemon one(world, nullptr, kShort);
  const std::string key = one.read("orders");
  set_state("orders", KeyState::kDisabled);
  wait(30s);
  EXPECT_EQ(one.read("orders"), key);
  wait(31s);
  one.read("orders");
  wait(1s);
  EXPECT_EQ(one.seen.ended, std::vector<std::string>{"orders"});
  EXPECT_EQ(one.read("orders"), "revoked");
  EXPECT_EQ(one.arena.usage().secrets, 0u);
  set_state("orders", KeyState::kEnabled);
  wait(2s);
  EXPECT_EQ(one.read("orders"), key);
}

TEST_F(KeyringFreshness, a_new_version_is_fetched_by_the_refresh) {
  Daemon one(world, nullptr, kShort);
  one.read("orders");
  // Another key's plaintext as version 2, wrapped as it should be.
  Record record = stored("orders");
  const auto made = [&]() -> Task<Result<CreatedKey>> {
    EncryptionContext context = key_context("orders", 2, record.origin);
    co_return co_await one.regions->create(32, context, now() + 10s);
  };
  auto second = world.time.loop.run_task(made());
  Version version = record.versions.at(1);
  version.check = *check_of(second->key, "orders", 2);
  for (auto& [region, wrapped] : second->wrapped) {
    version.wrapped[region].blob = wrapped.blob;
    version.wrapped[region].master = wrapped.master;
  }
  record.versions[2] = version;
  record.current = 2;
  ++record.serial;
  rewrite(record);
  wait(2min);
  one.read("orders");
  wait(1s);
  EXPECT_EQ(one.read("orders"), std::string(second->key.reveal_text()));
}

TEST_F(KeyringFreshness, a_record_that_was_tampered_with_ends_a_cached_key) {
  Daemon one(world, nullptr, kShort);
  const std::string key = one.read("orders");
  Record record = stored("orders");
  (*record.versions.at(1).check)[0] ^= 1;
  rewrite(record);
  wait(2min);
  EXPECT_EQ(one.read("orders"), key);
  wait(1s);
  EXPECT_EQ(one.seen.refresh_failed, 1);
  EXPECT_TRUE(world.log.has("key orders cannot be served"));
  EXPECT_EQ(one.seen.ended, std::vector<std::string>{"orders"});
  EXPECT_EQ(one.read("orders"), "corrupt");
}

TEST_F(KeyringFreshness, with_the_store_out_a_known_key_is_read_by_the_replica_after_a_restart) {
  std::string key;
  {
    auto before = open_replica();
    Daemon one(world, before.get());
    key = one.read("orders");
    flush(*before);
    wait(2min);
    world.time.poller.busy = nullptr;
  }
  auto after = open_replica();
  for (const bool hangs : {false, true}) {
    Daemon one(world, after.get());
    hangs ? one.store.hang() : one.store.fail_with(Code::kUnavailable);
    const TimePoint begin = now();
    const auto opened = one.open("orders", true);
    EXPECT_EQ(Daemon::told(opened), key);
    EXPECT_EQ((*opened)->source, KeySource::kReplica);
    EXPECT_LT(now() - begin, 2s);
  }
}

TEST_F(KeyringFreshness, nothing_is_created_by_the_replicas_miss) {
  auto records = open_replica();
  Daemon one(world, records.get());
  one.store.fail_with(Code::kUnavailable);
  EXPECT_EQ(one.read("orders"), "unavailable");
  EXPECT_EQ(one.region_calls(), 0);
  EXPECT_EQ(one.store.calls.put, 0);
}

TEST_F(KeyringFreshness, the_replica_is_believed_for_serve_stale_for_and_not_longer) {
  auto records = open_replica();
  Daemon maker(world, records.get());
  const std::string key = maker.read("orders");
  flush(*records);
  Daemon one(world, records.get(), {.fresh_for = 1min, .serve_stale_for = 10min, .keys = 1});
  one.store.fail_with(Code::kUnavailable);
  wait(9min);
  EXPECT_EQ(one.read("orders"), key);
  wait(2min);
  const auto opened = one.open("orders", false);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kUnavailable);
  EXPECT_NE(opened.error().message.find("serve_stale_for"), std::string::npos)
      << opened.error().message;
}

TEST_F(KeyringFreshness, what_the_replica_knows_as_disabled_is_revoked) {
  auto records = open_replica();
  Daemon one(world, records.get());
  one.read("orders");
  set_state("orders", KeyState::kDisabled);
  Daemon two(world, records.get());
  EXPECT_EQ(two.read("orders"), "revoked");
  Daemon three(world, records.get());
  three.store.fail_with(Code::kUnavailable);
  EXPECT_EQ(three.read("orders"), "revoked");
}

TEST_F(KeyringFreshness, a_record_that_this_host_has_seen_and_the_store_lost_is_not_made_anew) {
  auto records = open_replica();
  Daemon(world, records.get()).read("orders");
  world.records->erase("orders");
  Daemon one(world, records.get());
  EXPECT_EQ(one.read("orders"), "corrupt");
  EXPECT_FALSE(world.records->find("orders"));
}

TEST_F(KeyringFreshness, a_cached_key_whose_record_is_gone_is_served_until_serve_stale_for) {
  Daemon one(world, nullptr, kShort);
  const std::string key = one.read("orders");
  world.records->erase("orders");
  wait(2min);
  EXPECT_EQ(one.read("orders"), key);
  wait(1s);
  EXPECT_EQ(one.read("orders"), key);
  EXPECT_TRUE(world.log.has("key orders is served from the cache until serve_stale_for"));
  EXPECT_FALSE(world.log.has("cannot be served"));
  wait(9min);
  EXPECT_EQ(one.read("orders"), "corrupt");
  EXPECT_FALSE(world.records->find("orders"));
}

TEST_F(KeyringFreshness, a_damaged_replica_is_set_aside_and_makes_no_key_until_it_is_removed) {
  const std::string key = Daemon(world).read("orders");
  FILE* file = std::fopen(dir.file("replica.db").c_str(), "w");
  for (int i = 0; i < 1000; ++i) std::fputs("this is no database at all. ", file);
  std::fclose(file);
  for (int start = 0; start < 2; ++start) {
    auto records = open_replica();
    EXPECT_TRUE(world.log.has("the replica is damaged; it was set aside"));
    EXPECT_EQ(std::filesystem::file_size(dir.file("replica.db.damaged")), 28'000u);
    Daemon one(world, records.get());
    EXPECT_EQ(one.read("orders"), key);
    flush(*records);
    const auto opened = one.open("new", true);
    ASSERT_FALSE(opened) << "it may have known that id";
    EXPECT_EQ(opened.error().code, Code::kUnavailable);
    EXPECT_NE(opened.error().message.find(dir.file("replica.db.damaged")), std::string::npos)
        << opened.error().message;
    // The new one is as good as the first.
    Daemon two(world, records.get());
    two.store.fail_with(Code::kUnavailable);
    EXPECT_EQ(two.read("orders"), key);
    wait(1min);
    world.time.poller.busy = nullptr;
  }
  std::filesystem::remove(dir.file("replica.db.damaged"));
  auto records = open_replica();
  Daemon one(world, records.get());
  EXPECT_EQ(one.read("new").size(), 32u);
  wait(1min);
  world.time.poller.busy = nullptr;
}

TEST_F(KeyringFreshness, a_replica_whose_record_was_spoilt_gives_no_other_key_and_is_no_obstacle) {
  std::string key;
  {
    auto before = open_replica();
    Daemon one(world, before.get());
    key = one.read("orders");
    flush(*before);
    world.time.poller.busy = nullptr;
  }
  // The id in the record itself, which no longer matches its row.
  std::fstream file(dir.file("replica.db"), std::ios::in | std::ios::out | std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const size_t at = bytes.find("\"id\":\"orders\"");
  ASSERT_NE(at, std::string::npos);
  file.seekp(static_cast<std::streamoff>(at) + 6);
  file << "x";
  file.close();
  auto after = open_replica();
  {
    Daemon one(world, after.get());
    one.store.fail_with(Code::kUnavailable);
    EXPECT_FALSE(one.open("orders", true));
    EXPECT_EQ(one.region_calls(), 0);
    EXPECT_EQ(one.store.calls.put, 0);
  }
  Daemon two(world, after.get());
  EXPECT_EQ(two.read("orders"), key) << "the store has it";
}

TEST_F(KeyringFreshness, an_announced_disable_takes_effect_at_the_next_read) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, world.time.loop.now());
  const KeyRef node = one.cache.acquire("orders");  // as a mount has it
  const std::string key = one.read("orders");
  wait(1h);
  one.forget();
  EXPECT_EQ(one.read("orders"), key);
  EXPECT_EQ(one.store.calls.get, 0);  // live: nothing to check
  set_state("orders", KeyState::kDisabled);
  one.keyring->on_change("orders", Stored{stored("orders"), "9"});
  EXPECT_EQ(one.seen.ended, std::vector<std::string>{"orders"});
  EXPECT_EQ(one.read("orders"), "revoked");
  wait(1h);
  EXPECT_EQ(one.read("orders"), "revoked");
  EXPECT_EQ(one.store.calls.get, 0);
  set_state("orders", KeyState::kEnabled);
  one.keyring->on_change("orders", Stored{stored("orders"), "10"});
  EXPECT_EQ(one.read("orders"), key);
}

TEST_F(KeyringFreshness, a_change_that_is_announced_while_the_store_answers_is_not_lost) {
  Daemon one(world, nullptr, kShort);
  one.read("orders");
  Daemon two(world, nullptr, kShort);
  two.keyring->on_live(true, world.time.loop.now());
  two.region[0]->answer_after(50ms);
  std::string told;
  world.time.loop.spawn([](Daemon* daemon, std::string* out) -> Task<void> {
    *out = Daemon::told(co_await daemon->opening("orders", false));
  }(&two, &told));
  while (two.unwraps() == 0) world.time.loop.turn(true);
  // The store's answer, "enabled", has arrived; the region is unwrapping.
  set_state("orders", KeyState::kDisabled);
  two.keyring->on_change("orders", Stored{stored("orders"), "9"});
  while (told.empty()) world.time.loop.turn(true);
  EXPECT_EQ(told, "revoked");
  EXPECT_EQ(two.read("orders"), "revoked");
}

TEST_F(KeyringFreshness, after_a_gap_in_the_feed_each_cached_key_is_checked_when_it_is_next_read) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, world.time.loop.now());
  const KeyRef node = one.cache.acquire("id7");  // as a mount has it
  for (int i = 0; i < 200; ++i) one.read("id" + std::to_string(i));
  set_state("id7", KeyState::kDisabled);  // and nobody tells
  one.forget();
  one.keyring->on_gap();
  wait(1s);
  EXPECT_EQ(one.store.calls.get, 0) << "nobody reads them";
  one.read("id7");
  one.read("id8");
  wait(1s);
  EXPECT_EQ(one.store.calls.get, 2);
  EXPECT_EQ(one.region_calls(), 0);
  EXPECT_EQ(one.read("id7"), "revoked");
  one.read("id8");
  wait(1s);
  EXPECT_EQ(one.store.calls.get, 2) << "once is enough";
}

TEST_F(KeyringFreshness, describe_tells_without_unwrapping) {
  Daemon one(world);
  one.read("orders");
  one.forget();
  const auto info = world.time.loop.run_task(one.keyring->describe("orders", now() + 1s));
  ASSERT_TRUE(info && *info);
  EXPECT_EQ((*info)->version, 1u);
  EXPECT_EQ((*info)->bytes, 32u);
  EXPECT_EQ(*(*info)->regions, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(one.region_calls(), 0);
  const auto none = world.time.loop.run_task(one.keyring->describe("nothing", now() + 1s));
  EXPECT_TRUE(none && !*none);
}

}  // namespace
}  // namespace keyfs
