#include "fs/upkeep/adoption.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "fs/keys/keyring_fixture.h"
#include "fs/keys/rkms_store.h"
#include "fs/upkeep/healer.h"

namespace keyfs {
namespace {

using testing::as_rkms;
using testing::Daemon;
using testing::KeyringTest;
using testing::RkmsStore;
using namespace std::chrono_literals;

// A disk that fails when the test wants it.
struct FailingNotebook final : Notebook {
  Task<Result<void>> prove() override { co_return told(cannot_prove); }
  Task<Result<void>> write_down(Stored stored, bool) override {
    if (!cannot_write) noted[stored.record.id] = std::move(stored.record);
    co_return told(cannot_write);
  }
  Task<Result<void>> write_seen(std::vector<SeenKey> keys) override {
    for (SeenKey& key : keys) {
      if (!cannot_write) seen.insert(std::move(key.id));
    }
    co_return told(cannot_write);
  }
  static Result<void> told(bool fails) {
    if (fails) return fail(Code::kUnavailable, "the disk is full");
    return {};
  }
  bool cannot_prove = false, cannot_write = false;
  std::map<std::string, Record> noted;
  std::set<std::string> seen;
};

struct AdoptionTest : KeyringTest {
  AdoptionTest() : daemon(world), store(world.time.loop, world.records), memory(world.time.loop) {
    memory.says(Recall::What::kNever);
    options.adopt = true;
    daemon.forget();
  }

  void write_rkms(const std::string& id, const std::map<size_t, std::string>& key_of_region) {
    store.rkms[id] = as_rkms(world, daemon, id, key_of_region);
    daemon.forget();
  }
  HealReport heal(std::vector<std::string> ids = {}) {
    Healer healer(world.time.loop, store, *daemon.regions, world.log.log(), options, &memory,
                  &notebook);
    return world.time.loop.run_task(healer.run_once(std::move(ids), TimePoint::max())).value();
  }
  bool adopted(const std::string& id) { return world.records->find(id).has_value(); }
  // The failure's message; also checks that the record is unchanged.
  std::string refused(const std::string& id) {
    const HealReport report = heal();
    EXPECT_FALSE(adopted(id));
    EXPECT_EQ(report.adopted, 0u);
    EXPECT_EQ(report.failures.size(), 1u);
    if (report.failures.size() != 1) return "";
    EXPECT_EQ(report.failures[0].id, id);
    return report.failures[0].error.message;
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  Daemon daemon;
  RkmsStore store;
  testing::ScriptedMemory memory;
  FailingNotebook notebook;
  HealOptions options;
  const std::string key = "0123456789abcdef0123456789abcdef";
};

TEST_F(AdoptionTest, the_key_stays_the_same_and_each_region_gives_it) {
  write_rkms("old", {{0, key}, {1, key}, {2, key}});
  const HealReport report = heal();
  EXPECT_EQ(report.keys, 1u);
  EXPECT_EQ(report.adopted, 1u);
  EXPECT_TRUE(report.complete());
  for (size_t alone = 0; alone < 3; ++alone) {
    Daemon reader(world);
    for (size_t i = 0; i < 3; ++i) {
      if (i != alone) reader.region[i]->fail_with(Code::kDenied);
    }
    EXPECT_EQ(reader.read("old", false), key);
  }
}

TEST_F(AdoptionTest, an_item_in_place_of_a_record_that_this_host_has_seen_is_left_alone) {
  write_rkms("old", {{0, key}, {1, key}, {2, key}});
  Record seen;
  seen.id = "old";
  seen.serial = 1;
  memory.knows(seen);
  EXPECT_TRUE(has(refused("old"), "an RKMS item has replaced the record"));
  memory.says(Recall::What::kUnknown);
  EXPECT_TRUE(has(refused("old"), "can't be told now"));
  memory.says(Recall::What::kKnown);
  memory.answer.why.emplace(Code::kCorrupt, "it was damaged");
  const std::string told = refused("old");
  EXPECT_TRUE(has(told, "may have been a record of keyfs: it was damaged")) << told;
  EXPECT_TRUE(has(told, "forget it")) << "the way out: " << told;
  EXPECT_TRUE(std::all_of(memory.sightings.begin(), memory.sightings.end(), [](Sighting what) {
    return what == Sighting::kRkms;
  })) << "to look at an item says nothing against adopting it later";
  memory.says(Recall::What::kKnown);  // as one that RKMS wrote
  EXPECT_EQ(heal().adopted, 1u);
}

TEST_F(AdoptionTest, what_was_taken_over_is_noted_and_what_could_not_be_is_left_alone) {
  write_rkms("old", {{0, key}, {1, key}, {2, key}});
  notebook.cannot_prove = true;
  EXPECT_TRUE(has(refused("old"), "the disk is full"));
  notebook.cannot_prove = false;
  EXPECT_EQ(heal().adopted, 1u);
  EXPECT_EQ(notebook.noted.at("old"), stored("old"));
  write_rkms("older", {{0, key}, {1, key}, {2, key}});
  notebook.cannot_write = true;
  const HealReport report = heal();
  EXPECT_EQ(report.adopted, 1u);
  EXPECT_EQ(report.rkms_left, 0u);
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_TRUE(has(report.failures[0].error.message, "this host's memory was not told"));
}

TEST_F(AdoptionTest, the_new_record_is_bound_to_its_id_and_has_a_check_value) {
  write_rkms("old", {{0, key}, {1, key}, {2, key}});
  heal();
  const Record record = stored("old");
  EXPECT_FALSE(record.from_rkms);
  EXPECT_EQ(record.current, 1u);
  EXPECT_EQ(record.serial, 1u);
  const Version& version = record.versions.at(1);
  EXPECT_EQ(version.bytes, 32u);
  EXPECT_TRUE(version.check);
  EXPECT_EQ(version.creator, "RKMS");
  EXPECT_EQ(version.wrapped.size(), 3u);
  WrappedKey wrapped{version.wrapped.at("a").master, version.wrapped.at("a").blob};
  EXPECT_FALSE(world.time.loop.run_task(daemon.region[0]->unwrap(wrapped, {}, now() + 10s)));
  EXPECT_TRUE(world.time.loop.run_task(
      daemon.region[0]->unwrap(wrapped, key_context("old", 1, record.origin), now() + 10s)));
  EXPECT_EQ(record.origin, world.records->id());
  EXPECT_FALSE(world.time.loop.run_task(
      daemon.region[0]->unwrap(wrapped, key_context("old", 1), now() + 10s)));
}

TEST_F(AdoptionTest, keys_of_other_sizes_keep_theirs) {
  write_rkms("short", {{0, std::string(16, 'x')}});
  write_rkms("long", {{0, std::string(4000, 'y')}});
  EXPECT_EQ(heal().adopted, 2u);
  EXPECT_EQ(Daemon(world).read("short", false), std::string(16, 'x'));
  EXPECT_EQ(Daemon(world).read("long", false), std::string(4000, 'y'));
}

TEST_F(AdoptionTest, a_key_that_its_check_value_would_give_away_is_left_alone_with_the_reason) {
  write_rkms("short", {{0, std::string(15, 'x')}});
  const std::string told = refused("short");
  EXPECT_TRUE(has(told, "has 15 bytes")) << told;
  EXPECT_TRUE(has(told, "found by brute force")) << told;
  EXPECT_FALSE(heal().complete());
}

TEST_F(AdoptionTest, the_report_tells_when_no_record_of_rkms_is_left) {
  write_rkms("old", {{0, key}, {1, key}});
  write_rkms("short", {{0, "x"}});
  EXPECT_EQ(heal({"old"}).rkms_left, std::nullopt) << "not all keys were looked at";
  EXPECT_EQ(heal().rkms_left, 1u);
  store.rkms.erase("short");
  EXPECT_EQ(heal().rkms_left, 0u);
  options.adopt = false;
  EXPECT_EQ(heal().rkms_left, std::nullopt);
}

TEST_F(AdoptionTest, every_region_that_holds_the_key_is_asked) {
  write_rkms("old", {{0, key}, {1, key}, {2, key}});
  heal();
  for (const auto* region : daemon.region) EXPECT_EQ(region->calls.unwrap, 1);
}

TEST_F(AdoptionTest, regions_that_hold_different_keys_are_told_and_the_record_is_left_alone) {
  std::string other = key;
  other.back() = 'g';
  write_rkms("old", {{0, key}, {1, key}, {2, other}});
  const std::string told = refused("old");
  EXPECT_TRUE(has(told, "regions a and c hold different keys under this id")) << told;
  EXPECT_FALSE(has(told, key));
  for (const auto* region : daemon.region) EXPECT_EQ(region->calls.wrap, 0);
}

TEST_F(AdoptionTest, a_key_that_is_the_others_beginning_is_a_different_one) {
  write_rkms("old", {{0, key}, {1, key + std::string(1, '\0')}});
  EXPECT_TRUE(has(refused("old"), "different keys"));
}

TEST_F(AdoptionTest, a_region_that_cannot_be_compared_leaves_the_record_alone_until_it_can) {
  write_rkms("old", {{0, key}, {1, key}, {2, key}});
  daemon.region[1]->fail_with(Code::kUnavailable, "refuses connections");
  const std::string told = refused("old");
  EXPECT_TRUE(has(told, "cannot be verified in every region")) << told;
  EXPECT_TRUE(has(told, "refuses connections")) << told;
  daemon.region[1]->heal();
  EXPECT_EQ(heal().adopted, 1u);
}

TEST_F(AdoptionTest, a_region_that_is_not_configured_leaves_the_record_alone) {
  write_rkms("old", {{0, key}});
  store.rkms.at("old").versions.at(1).wrapped["elsewhere"].blob = "blob";
  const std::string told = refused("old");
  EXPECT_TRUE(has(told, "elsewhere")) << told;
  EXPECT_EQ(daemon.region_calls(), 0);
}

TEST_F(AdoptionTest, a_region_that_held_the_key_must_hold_it_afterwards) {
  write_rkms("old", {{0, key}, {1, key}});
  // It unwraps, and then refuses to wrap.
  store.before_replace = [] { FAIL() << "the record is replaced"; };
  daemon.region[1]->answer_after(1s);
  const auto break_later = [&]() -> Task<bool> {
    co_await world.time.loop.sleep_for(500ms);
    daemon.region[1]->fail_with(Code::kDenied, "may not encrypt");
    co_return true;
  };
  TaskGroup<bool> beside(world.time.loop);
  beside.start(break_later());
  EXPECT_TRUE(has(refused("old"), "may not encrypt"));
  store.before_replace = nullptr;
}

TEST_F(AdoptionTest, a_region_that_held_nothing_may_be_filled_in_later) {
  write_rkms("old", {{0, key}, {1, key}});
  daemon.region[2]->fail_with(Code::kUnavailable);
  const HealReport report = heal();
  EXPECT_EQ(report.adopted, 1u);
  ASSERT_EQ(report.missing.size(), 1u);
  EXPECT_EQ(report.missing[0].regions.at(0).region, "c");
  EXPECT_EQ(stored("old").versions.at(1).wrapped.size(), 2u);
  daemon.region[2]->heal();
  EXPECT_EQ(heal().healed, 1u);
  EXPECT_EQ(stored("old").versions.at(1).wrapped.size(), 3u);
}

TEST_F(AdoptionTest, without_being_asked_to_it_leaves_them_alone_and_counts_them) {
  write_rkms("old", {{0, key}, {1, key}});
  options.adopt = false;
  const HealReport all = heal();
  EXPECT_EQ(all.rkms, 1u);
  EXPECT_EQ(heal({"old"}).rkms, 1u);
  EXPECT_TRUE(all.complete());
  EXPECT_FALSE(adopted("old"));
  EXPECT_EQ(daemon.region_calls(), 0);
}

TEST_F(AdoptionTest, loser_of_an_adoption_race_leaves_the_winners_record) {
  write_rkms("old", {{0, key}, {1, key}, {2, key}});
  auto other = world.time.loop.run_task(
      adopt(world.time.loop, *daemon.regions, store.rkms.at("old"), now() + 10s));
  const std::string winner = to_json(other->record).value();
  store.before_replace = [&] { world.records->write_raw("old", winner); };
  const HealReport report = heal();
  EXPECT_EQ(report.adopted, 0u);
  EXPECT_EQ(report.whole, 1u);
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(world.records->find("old")->json, winner);
}

TEST_F(AdoptionTest, an_id_that_keyfs_cannot_open_is_left_alone) {
  write_rkms("no/key id", {{0, key}});
  EXPECT_TRUE(has(refused("no/key id"), "its id is not a valid key id"));
}

TEST_F(AdoptionTest, a_record_of_rkms_reads_as_it_is_too) {
  write_rkms("old", {{0, key}, {1, key}});
  KeyCache cache{CacheOptions{}};
  Keyring keyring(KeyringParts{world.time.loop, store, *daemon.regions, cache, world.arena,
                               world.log.log(), daemon.no_memory, &daemon.seen},
                  KeyringOptions{});
  OpenRequest request(cache.acquire("old"), false, now() + 10s);
  EXPECT_EQ(Daemon::told(world.time.loop.run_task(keyring.open(std::move(request)))), key);
}

}  // namespace
}  // namespace keyfs
