// Nothing goes back: what a host has seen of a record binds what it accepts later. And a refusal
// has a bound: only an answer that is strongly consistent moves the time of confirmation.
#include <functional>

#include "fs/keys/keyring_fixture.h"
#include "fs/keys/record_memory.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::ScriptedMemory;
using namespace std::chrono_literals;

struct KeyringMemory : KeyringTest {
  ~KeyringMemory() override {
    world.time.poller.busy = nullptr;
    world.time.loop.shutdown();
  }
  std::unique_ptr<Replica> open_replica() {
    auto opened = Replica::open(world.time.loop, world.log.log(), dir.file("replica.db"));
    EXPECT_TRUE(opened) << opened.error().message;
    auto* replica = opened->get();
    world.time.poller.busy = [replica] { return replica->under_way() > 0; };
    return std::move(*opened);
  }
  void flush(Replica& replica) {
    const auto flushed = [&]() -> Task<bool> {
      co_await replica.flush();
      co_return true;
    };
    world.time.loop.run_task(flushed());
  }
  // What a second store with the same masters holds under this id: another key, rightly wrapped.
  Record foreign() {
    world.records->erase("orders");
    Daemon(world).read("orders");
    Record other = stored("orders");
    other.serial = 5;  // as the one that is known
    world.records->write_raw("orders", json);
    return other;
  }
  Record changed(const std::function<void(Record&)>& change) {
    Record record = *parse_record(json, "orders");
    change(record);
    return record;
  }
  // By what law each is refused.
  std::vector<std::pair<std::string, Record>> tampered() {
    return {
        {"is another key than it was", foreign()},
        {"its serial went back", changed([](Record& r) { r.serial = 4; })},
        {"its serial went back", changed([](Record& r) { r.serial = 0; })},
        {"version 1 is gone", changed([](Record& r) {
           Version version = r.versions.at(1);
           r.versions.clear();
           r.versions[2] = version;
           r.current = 2;
           r.serial = 6;
         })},
    };
  }

  static constexpr CacheOptions kShort = {.fresh_for = 1min, .serve_stale_for = 10min};
  const testing::TemporaryDirectory dir;
  const std::string key = [this] {
    const std::string made = Daemon(world).read("orders");
    Record record = stored("orders");
    record.serial = 5;  // it has a history
    rewrite(record);
    return made;
  }();
  const std::string json = world.records->find("orders")->json;
};

TEST_F(KeyringMemory, a_cached_key_whose_record_goes_back_is_refused_from_the_first_check_on) {
  for (const auto& [why, record] : tampered()) {
    SCOPED_TRACE(why);
    world.records->write_raw("orders", json);
    Daemon one(world, nullptr, kShort);
    const KeyRef node = one.cache.acquire("orders");  // as a mount has it
    EXPECT_EQ(one.read("orders"), key);
    rewrite(record);
    wait(2min);
    EXPECT_EQ(one.read("orders"), key) << "served as it is, and checked behind";
    wait(1s);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(one.read("orders"), "corrupt");
      wait(2min);
    }
    EXPECT_EQ(one.seen.ended, std::vector<std::string>{"orders"});
    EXPECT_TRUE(world.log.has(why));
    EXPECT_TRUE(world.log.has("forget it")) << "how it is taken on purpose";
    EXPECT_EQ(one.store.calls.put, 0);
    world.records->write_raw("orders", json);
    EXPECT_EQ(one.read("orders"), key) << "as soon as the record is the right one again";
  }
}

TEST_F(KeyringMemory, a_host_that_was_restarted_holds_the_record_against_its_replica) {
  {
    auto before = open_replica();
    Daemon one(world, before.get());
    EXPECT_EQ(one.read("orders"), key);
    flush(*before);
    world.time.poller.busy = nullptr;
  }
  auto replica = open_replica();
  for (const auto& [why, record] : tampered()) {
    SCOPED_TRACE(why);
    rewrite(record);
    Daemon one(world, replica.get());
    EXPECT_EQ(one.read("orders"), "corrupt");
    const auto told = world.time.loop.run_task(one.keyring->describe("orders", now() + 1s));
    ASSERT_FALSE(told);
    EXPECT_EQ(told.error().code, Code::kCorrupt);
    EXPECT_TRUE(world.log.has(why));
    EXPECT_TRUE(world.log.has(dir.file("replica.db*"))) << "how it is taken on purpose";
    flush(*replica);
  }
  world.records->write_raw("orders", json);
  Daemon one(world, replica.get());
  EXPECT_EQ(one.read("orders"), key) << "what was refused was not remembered";
}

TEST_F(KeyringMemory, what_was_deleted_stays_so_when_the_store_says_otherwise) {
  auto replica = open_replica();
  {
    Daemon one(world, replica.get());
    EXPECT_EQ(one.read("orders"), key);
    Record tombstone = stored("orders");
    tombstone.state = KeyState::kDeleted;
    ++tombstone.serial;
    tombstone.versions.at(1).wrapped.clear();
    rewrite(tombstone);
    Daemon two(world, replica.get());
    EXPECT_EQ(two.read("orders"), "revoked");
    flush(*replica);
  }
  for (const uint64_t serial : {5u, 6u, 7u}) {
    rewrite(changed([&](Record& r) { r.serial = serial; }));
    Daemon one(world, replica.get());
    EXPECT_EQ(one.read("orders"), "corrupt") << serial;
  }
  world.records->erase("orders");
  Daemon one(world, replica.get());
  EXPECT_EQ(one.read("orders"), "corrupt") << "nor is it made anew";
}

TEST_F(KeyringMemory, what_permits_more_than_before_raises_the_serial) {
  set_state("orders", KeyState::kDisabled);
  ScriptedMemory memory(world.time.loop);
  memory.knows(stored("orders"));
  Daemon two(world, &memory);
  EXPECT_EQ(two.read("orders"), "revoked");
  Record record = stored("orders");
  record.state = KeyState::kEnabled;
  rewrite(record);
  Daemon three(world, &memory);
  EXPECT_EQ(three.read("orders"), "corrupt");
  ++record.serial;
  rewrite(record);
  Daemon four(world, &memory);
  EXPECT_EQ(four.read("orders"), key);
}

TEST_F(KeyringMemory, an_item_of_rkms_is_never_taken_for_what_keyfs_wrote) {
  Record rkms = changed([](Record& r) {
    r.from_rkms = true;
    r.versions.at(1).check.reset();
  });
  EXPECT_TRUE(goes_back(stored("orders"), rkms));
  EXPECT_TRUE(goes_back(remembered(stored("orders")), rkms));
  EXPECT_FALSE(goes_back(rkms, stored("orders"))) << "adopted";
}

TEST_F(KeyringMemory, what_happens_to_a_record_in_the_course_of_things_goes_forward) {
  const Record before = changed([](Record& r) { r.origin = "store-1"; });
  const std::vector<std::function<void(Record&)>> changes = {
      [](Record& r) { r.versions.at(1).wrapped.erase("a"); },
      [](Record& r) { r.versions.at(1).wrapped["d"] = {}; },
      [](Record& r) { r.state = KeyState::kDisabled, ++r.serial; },
      [](Record& r) { r.state = KeyState::kDisabled; },  // by a keyfs that knows of no serial
      [](Record& r) { r.state = KeyState::kDeleted, ++r.serial, r.versions.clear(); },
      [](Record& r) { r.versions[2] = r.versions.at(1), r.pending = 2, r.last = 2; },
      [](Record& r) { r.versions[2] = r.versions.at(1), r.current = 2, ++r.serial; },
      [](Record& r) { r.min = 1, ++r.serial; },
      [](Record& r) { r.unknown = R"({"later":1})"; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    Record now = before;
    changes[i](now);
    EXPECT_EQ(goes_back(before, now), std::nullopt) << i;
    EXPECT_EQ(goes_back(remembered(before), now), std::nullopt) << i;
  }
  Record pending = before;
  pending.versions[2] = pending.versions.at(1);
  pending.pending = pending.last = 2;
  Record given_up = before;
  given_up.last = 2;
  EXPECT_EQ(goes_back(pending, given_up), std::nullopt);
  Record elsewhere = before;
  elsewhere.origin = "store-2";
  EXPECT_TRUE(goes_back(before, elsewhere));
}

TEST_F(KeyringMemory, an_old_answer_is_no_damage_and_gives_way_to_what_is_known) {
  auto replica = open_replica();
  Daemon one(world, replica.get());
  one.behind->fall_behind(*world.records, "orders");
  set_state("orders", KeyState::kDisabled);
  {
    Daemon other(world, replica.get());  // has seen it disabled
    EXPECT_EQ(other.read("orders"), "revoked");
    flush(*replica);
  }
  EXPECT_EQ(one.read("orders"), "revoked") << "by a strong second look";
  EXPECT_FALSE(world.log.has("cannot be served"));
  one.behind->cut_off = true;
  wait(2s);
  EXPECT_EQ(one.read("orders"), "revoked") << "nobody can be asked: by what is known";
  EXPECT_FALSE(world.log.has("cannot be served"));
}

TEST_F(KeyringMemory, a_change_that_was_announced_does_not_vouch_for_another_key) {
  Daemon one(world, nullptr, kShort);
  const KeyRef node = one.cache.acquire("orders");
  one.keyring->on_live(true, now());
  EXPECT_EQ(one.read("orders"), key);
  const Record other = foreign();
  rewrite(other);
  one.keyring->on_change("orders", Stored{other, "9"});
  wait(1s);
  EXPECT_EQ(one.read("orders"), "corrupt");
  EXPECT_TRUE(world.log.has("is another key than it was"));
}

TEST_F(KeyringMemory, an_old_announcement_changes_nothing) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  EXPECT_EQ(one.read("orders"), key);
  one.keyring->on_change("orders", Stored{changed([](Record& r) { r.serial = 2; }), "3"});
  wait(1s);
  EXPECT_EQ(one.read("orders"), key);
  EXPECT_EQ(one.seen.refreshed, 1);
}

// What the store's members that were cut off say: it is enabled, again and again.
TEST_F(KeyringMemory, answers_that_may_be_old_never_move_the_time_of_confirmation) {
  for (const bool evicted : {false, true}) {
    SCOPED_TRACE(evicted ? "read cold each time" : "cached");
    world.records->write_raw("orders", json);
    Daemon one(world, nullptr, {.fresh_for = 1s, .serve_stale_for = 5s});
    const KeyRef node = one.cache.acquire("orders");
    EXPECT_EQ(one.read("orders"), key);
    const TimePoint begin = now();
    one.behind->fall_behind(*world.records, "orders");
    one.behind->cut_off = true;
    set_state("orders", KeyState::kDisabled);
    while (now() - begin < 5s) {
      EXPECT_EQ(one.read("orders"), key) << to_text(now() - begin);
      if (evicted) one.cache.shrink(1);
      wait(100ms);
    }
    wait(100ms);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(one.read("orders"), "unavailable") << to_text(now() - begin);
      wait(1s);
    }
    one.behind->cut_off = false;
    wait(6s);
    EXPECT_EQ(one.read("orders"), "revoked");
  }
}

TEST_F(KeyringMemory, a_key_that_was_never_confirmed_is_served_for_the_bound_from_its_first_serve) {
  auto replica = open_replica();
  const CacheOptions options{.fresh_for = 1s, .serve_stale_for = 1min};
  Daemon one(world, replica.get(), options);
  one.behind->fall_behind(*world.records, "orders");
  one.behind->cut_off = true;
  const TimePoint begin = now();
  while (now() - begin < 1min) {
    EXPECT_EQ(one.read("orders"), key) << to_text(now() - begin);
    one.cache.shrink(1);
    wait(5s);
  }
  wait(1s);
  EXPECT_EQ(one.read("orders"), "unavailable");
  flush(*replica);
  Daemon restarted(world, replica.get(), options);
  restarted.behind->fall_behind(*world.records, "orders");
  restarted.behind->cut_off = true;
  EXPECT_EQ(restarted.read("orders"), "unavailable") << "a restart begins no new time";
}

TEST_F(KeyringMemory, a_cold_hit_that_may_be_old_is_served_and_checked_at_once_without_kms) {
  Daemon one(world);
  const KeyRef node = one.cache.acquire("orders");
  one.behind->fall_behind(*world.records, "orders");
  set_state("orders", KeyState::kDisabled);
  EXPECT_EQ(one.read("orders"), key);
  const int unwraps = one.unwraps();
  wait(1s);
  EXPECT_EQ(one.behind->strong, 1);
  EXPECT_EQ(one.unwraps(), unwraps);
  EXPECT_EQ(one.seen.ended, std::vector<std::string>{"orders"});
  EXPECT_EQ(one.read("orders"), "revoked");
}

TEST_F(KeyringMemory, a_check_asks_for_a_strong_answer) {
  Daemon one(world, nullptr, kShort);
  const KeyRef node = one.cache.acquire("orders");
  EXPECT_EQ(one.read("orders"), key);
  one.behind->fall_behind(*world.records, "orders");
  set_state("orders", KeyState::kDisabled);
  wait(2min);
  one.read("orders");
  wait(1s);
  EXPECT_EQ(one.read("orders"), "revoked");
}

TEST_F(KeyringMemory, a_revoked_key_is_wiped_while_its_new_version_is_fetched) {
  Daemon one(world, nullptr, kShort);
  EXPECT_EQ(one.read("orders"), key);
  Record record = stored("orders");
  record.versions[2] = record.versions.at(1);  // whose wraps will not open
  record.current = 2;
  ++record.serial;
  rewrite(record);
  for (auto* region : one.region) region->hang();
  wait(2min);
  EXPECT_EQ(one.read("orders"), key);
  wait(1s);  // the check is fetching version 2
  one.cache.revoke(*one.cache.acquire("orders"), now(), 0);
  EXPECT_EQ(one.arena.usage().secrets, 0u);
  one.regions_heal();
}

}  // namespace
}  // namespace keyfs
