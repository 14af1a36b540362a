// What RKMS wrote has no check value: what its keys were is known to the running keyfs only.
#include "fs/keys/keyring_fixture.h"
#include "fs/keys/rkms_store.h"

namespace keyfs {
namespace {

using testing::as_rkms;
using testing::Daemon;
using testing::KeyringTest;
using testing::RkmsStore;
using testing::ScriptedMemory;
using namespace std::chrono_literals;

struct KeyringRkms : KeyringTest {
  KeyringRkms() { restart(); }
  ~KeyringRkms() override { wait(1min); }  // background checks end before the keyring
  void restart() {
    keyring.reset();
    cache = std::make_unique<KeyCache>(CacheOptions{.fresh_for = 1s, .serve_stale_for = 1h});
    keyring =
        std::make_unique<Keyring>(KeyringParts{world.time.loop, store, *daemon.regions, *cache,
                                               world.arena, world.log.log(), memory, &daemon.seen},
                                  KeyringOptions{});
  }
  void write(const std::map<size_t, std::string>& key_of_region) {
    store.rkms["old"] = as_rkms(world, daemon, "old", key_of_region);
  }
  std::string read() {
    OpenRequest request(cache->acquire("old"), true, now() + 10s);
    return Daemon::told(world.time.loop.run_task(keyring->open(std::move(request))));
  }
  // What is served once the change has been seen.
  std::string read_after_refresh() {
    wait(2s);
    read();  // has it checked
    wait(2s);
    return read();
  }

  Daemon daemon{world};
  RkmsStore store{world.time.loop, world.records};
  ScriptedMemory memory{world.time.loop};
  std::unique_ptr<KeyCache> cache;
  std::unique_ptr<Keyring> keyring;
  const std::string key = "0123456789abcdef0123456789abcdef";
  const std::string other = "fedcba9876543210fedcba9876543210";
};

TEST_F(KeyringRkms, an_item_that_gives_another_key_ends_what_is_cached_and_is_refused) {
  write({{0, key}, {1, key}});
  EXPECT_EQ(read(), key);
  write({{0, other}, {1, other}});
  EXPECT_EQ(read_after_refresh(), "corrupt");
  EXPECT_EQ(daemon.seen.ended.size(), 1u);
  EXPECT_EQ(read(), "corrupt") << "also with nothing in the cache";
  for (const Sighting what : memory.sightings) EXPECT_EQ(what, Sighting::kRkms);
  write({{0, key}, {1, key}});
  EXPECT_EQ(read(), key);
}

TEST_F(KeyringRkms, the_wrong_key_that_was_read_first_is_not_served_once_the_right_one_is_back) {
  write({{0, other}});
  EXPECT_EQ(read(), other);  // nothing tells
  write({{0, key}});
  EXPECT_EQ(read_after_refresh(), "corrupt");
  EXPECT_TRUE(world.log.has("restart keyfs"));
  restart();
  EXPECT_EQ(read(), key);
}

TEST_F(KeyringRkms, a_short_key_has_no_check_value_and_the_cache_follows_its_item) {
  write({{0, "short"}});
  EXPECT_EQ(read(), "short");
  write({{0, "other"}});
  EXPECT_EQ(read_after_refresh(), "other");
}

TEST_F(KeyringRkms, other_wraps_of_the_same_key_change_nothing) {
  write({{0, key}});
  EXPECT_EQ(read(), key);
  write({{0, key}, {1, key}});
  EXPECT_EQ(read_after_refresh(), key);
  daemon.forget();
  EXPECT_EQ(read_after_refresh(), key);
  EXPECT_EQ(daemon.unwraps(), 0) << "the same wraps are not unwrapped again";
}

TEST_F(KeyringRkms, an_item_that_nothing_can_unwrap_any_more_ends_what_is_cached) {
  write({{0, key}});
  EXPECT_EQ(read(), key);
  store.rkms["old"].versions[1].wrapped["a"].blob = "junk";
  EXPECT_EQ(read_after_refresh(), "corrupt");
}

TEST_F(KeyringRkms, after_adoption_the_record_must_hold_the_key_that_was_read) {
  write({{0, key}});
  EXPECT_EQ(read(), key);
  Daemon adopter(world);
  adopter.read("old");  // a record of keyfs, for another key
  EXPECT_EQ(read_after_refresh(), "corrupt");
}

TEST_F(KeyringRkms, an_id_whose_item_is_gone_is_not_created) {
  write({{0, key}});
  EXPECT_EQ(read(), key);
  memory.says(Recall::What::kNever);
  store.rkms.clear();
  const KeyRef entry = cache->find("old");
  cache->drop(*entry);
  EXPECT_EQ(read(), "corrupt");
}

TEST_F(KeyringRkms, an_item_that_is_not_accepted_is_seen_as_what_it_is) {
  ScriptedMemory mine(world.time.loop);
  Daemon one(world, &mine);
  one.store.fault.error = rkms_not_accepted("old");
  EXPECT_EQ(one.read("old"), "corrupt");
  const TimePoint until = now() + 10s;
  EXPECT_FALSE(world.time.loop.run_task(one.keyring->describe("old", until)));
  ASSERT_EQ(mine.sightings.size(), 2u);
  for (const Sighting what : mine.sightings) EXPECT_EQ(what, Sighting::kRkms);
}

TEST_F(KeyringRkms, one_that_is_damaged_may_have_been_keyfss) {
  ScriptedMemory mine(world.time.loop);
  Daemon one(world, &mine);
  one.store.fail_with(Code::kCorrupt, "record of key old, written by RKMS, is corrupt");
  EXPECT_EQ(one.read("old"), "corrupt");
  ASSERT_EQ(mine.sightings.size(), 1u);
  EXPECT_EQ(mine.sightings[0], Sighting::kUnproven);
}

}  // namespace
}  // namespace keyfs
