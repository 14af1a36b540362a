// Keys are bound to the store that they were created in: two stores whose regions have the same
// masters are still two stores.
#include "fs/keys/keyring_fixture.h"
#include "fs/upkeep/healer.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using namespace std::chrono_literals;

struct StoreBinding : KeyringTest {
  // The record that the same id got in another store.
  Record made_elsewhere(const std::string& id) {
    const auto here = std::exchange(world.records, std::make_shared<MemoryRecords>("elsewhere"));
    Daemon(world).read(id);
    Record record = stored(id);
    world.records = here;
    return record;
  }
  std::string read_by_a_new_host(const std::string& id) { return Daemon(world).read(id); }

  const std::string corrupt = std::string(to_string(Code::kCorrupt));
};

TEST_F(StoreBinding, a_new_key_names_the_store_and_its_wraps_open_for_no_other) {
  Daemon one(world);
  one.read("orders");
  const Record record = stored("orders");
  EXPECT_EQ(record.origin, world.records->id());
  const Wrap& wrap = record.versions.at(1).wrapped.at("a");
  const WrappedKey wrapped{wrap.master, wrap.blob};
  const auto opens = [&](const std::string& store) {
    return world.time.loop
        .run_task(one.region[0]->unwrap(wrapped, key_context("orders", 1, store), now() + 10s))
        .has_value();
  };
  EXPECT_TRUE(opens(record.origin));
  EXPECT_FALSE(opens("elsewhere"));
  EXPECT_FALSE(opens(""));
}

TEST_F(StoreBinding, a_record_copied_from_another_store_is_served_by_no_host) {
  rewrite(made_elsewhere("orders"));
  EXPECT_EQ(read_by_a_new_host("orders"), corrupt);
  EXPECT_TRUE(world.log.has("is bound to another store"));
}

TEST_F(StoreBinding, nor_is_one_whose_origin_was_forged_or_removed) {
  for (const std::string& origin : {world.records->id(), std::string()}) {
    Record record = made_elsewhere("orders");
    record.origin = origin;
    rewrite(record);
    EXPECT_EQ(read_by_a_new_host("orders"), corrupt) << origin;
  }
}

TEST_F(StoreBinding, a_record_of_an_older_keyfs_reads_and_heals_as_before) {
  Daemon one(world);
  const SecretBytes key = world.arena.copy_of(std::string(32, 'k')).value();
  Record record;
  record.id = "orders";
  record.current = 1;
  Version& version = record.versions[1];
  version.created = "2026-11-22T03:46:00Z";
  version.creator = "old";
  version.bytes = 32;
  version.check = *check_of(key, "orders", 1);
  for (const size_t region : {0, 1}) {
    const auto wrapped = world.time.loop.run_task(
        one.region[region]->wrap(key, key_context("orders", 1), now() + 10s));
    ASSERT_TRUE(wrapped);
    Wrap& wrap = version.wrapped[region == 0 ? "a" : "b"];
    wrap.master = wrapped->master;
    wrap.blob = wrapped->blob;
    wrap.at = version.created;
  }
  rewrite(record);
  EXPECT_EQ(read_by_a_new_host("orders"), std::string(32, 'k'));
  Healer healer(world.time.loop, one.store, *one.regions, world.log.log(), HealOptions{});
  const auto report = world.time.loop.run_task(healer.run_once({"orders"}, TimePoint::max()));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->healed, 1u);
  EXPECT_EQ(stored("orders").origin, "");
  EXPECT_EQ(stored("orders").versions.at(1).wrapped.size(), 3u);
  EXPECT_EQ(read_by_a_new_host("orders"), std::string(32, 'k'));
}

}  // namespace
}  // namespace keyfs
