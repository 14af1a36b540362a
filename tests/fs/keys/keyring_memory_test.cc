// Nothing goes back: what a host has seen of a record limits what it accepts later. And revocation
// is bounded: only a strongly consistent answer moves the time of confirmation.
#include <functional>

#include "fs/keys/keyring_fixture.h"
#include "fs/keys/record_memory.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::ScriptedMemory;
using namespace std::chrono_literals;

struct KeyringMemory : testing::ReplicatedTest {
  // What a second store with the same masters has under this id: another key, correctly wrapped.
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
  // Why each is refused.
  std::vector<std::pair<std::string, Record>> tampered() {
    return {
        {"is not the key that it was", foreign()},
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
      [](Record& r) { r.state = KeyState::kDisabled; },  // by a keyfs that knows no serial
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
  EXPECT_TRUE(world.log.has("is not the key that it was"));
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

// Members that were cut off keep saying that it is enabled.
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

// What the command line deletes and disables it notes beside the daemon, which need not notice.
TEST_F(KeyringMemory, a_cached_key_is_held_against_what_a_command_noted_on_this_host) {
  for (const KeyState state : {KeyState::kDisabled, KeyState::kDeleted}) {
    SCOPED_TRACE(to_string(state));
    ScriptedMemory memory(world.time.loop);
    memory.knows(stored("orders"));
    Daemon one(world, &memory, kShort);
    const KeyRef node = one.cache.acquire("orders");
    EXPECT_EQ(one.read("orders"), key);
    memory.knows(changed([&](Record& r) { r.state = state, ++r.serial; }));
    wait(2min);  // and the row is as it was before
    EXPECT_EQ(one.read("orders"), key) << "served as it is, and checked behind";
    wait(1s);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(one.read("orders"), "corrupt");
      wait(2min);
    }
    EXPECT_EQ(one.seen.ended, std::vector<std::string>{"orders"});
    EXPECT_EQ(one.arena.usage().secrets, 0u);
  }
}

TEST_F(KeyringMemory, a_memory_that_does_not_answer_proves_nothing_and_takes_no_key_away) {
  for (const bool hangs : {false, true}) {
    SCOPED_TRACE(hangs ? "hangs" : "fails");
    ScriptedMemory memory(world.time.loop);
    memory.knows(stored("orders"));
    Daemon one(world, &memory, kShort);
    const KeyRef node = one.cache.acquire("orders");
    EXPECT_EQ(one.read("orders"), key);
    memory.says(Recall::What::kUnknown);
    memory.hangs = hangs;
    one.forget();
    for (int i = 0; i < 10 * 60 / 5; ++i) {
      EXPECT_EQ(one.read("orders"), key);
      wait(5s);
    }
    EXPECT_EQ(one.unwraps(), 0);
    EXPECT_EQ(one.seen.refreshed, 0);
    EXPECT_LE(one.store.calls.get, 10) << "the store pays nothing for a disk that is out";
    wait(5s);
    EXPECT_EQ(one.read("orders"), key) << "as on a host whose memory is out, read cold";
    EXPECT_EQ(one.unwraps(), 1) << "the time of confirmation has not moved";
    // What the store refuses needs no memory.
    set_state("orders", KeyState::kDisabled);
    wait(2min);
    one.read("orders");
    wait(1s);
    EXPECT_EQ(one.read("orders"), "revoked");
    world.records->write_raw("orders", json);
  }
}

// The store is asked, a command changes the record and notes that, and the memory answers.
TEST_F(KeyringMemory, a_command_that_comes_between_two_answers_is_no_damage) {
  for (const bool cached : {false, true}) {
    SCOPED_TRACE(cached ? "cached" : "cold");
    world.records->write_raw("orders", json);
    ScriptedMemory memory(world.time.loop);
    memory.knows(stored("orders"));
    Daemon one(world, &memory, kShort);
    const KeyRef node = one.cache.acquire("orders");
    if (cached) {
      EXPECT_EQ(one.read("orders"), key);
      wait(2min);
    }
    memory.delay = 50ms;
    one.forget();
    std::string told;
    world.time.loop.spawn([](Daemon* daemon, std::string* out) -> Task<void> {
      *out = Daemon::told(co_await daemon->opening("orders", false));
    }(&one, &told));
    while (one.store.calls.get == 0) world.time.loop.turn(false);
    turns(5);
    set_state("orders", KeyState::kDisabled);
    memory.knows(stored("orders"));
    wait(1s);
    EXPECT_EQ(told, cached ? key : "revoked");
    EXPECT_EQ(one.read("orders"), "revoked");
    EXPECT_EQ(one.store.calls.get, 2) << "once more is enough";
    EXPECT_FALSE(world.log.has("cannot be served"));
  }
}

// A key is made while the memory, asked together with the store, has not answered yet.
struct KeyringMemoryBetween : KeyringMemory {
  void expect_served(const std::function<void(Daemon&, ScriptedMemory&, const Record&)>& tell) {
    const Record record = stored("orders");
    for (const bool may_create : {false, true}) {
      SCOPED_TRACE(may_create);
      world.records->erase("orders");
      ScriptedMemory memory(world.time.loop);
      memory.says(Recall::What::kNever);
      memory.delay = 50ms;
      Daemon one(world, &memory, kShort);
      std::string told;
      world.time.loop.spawn([](Daemon* daemon, bool create, std::string* out) -> Task<void> {
        *out = Daemon::told(co_await daemon->opening("orders", create));
      }(&one, may_create, &told));
      while (one.store.calls.get == 0) world.time.loop.turn(false);
      turns(5);
      rewrite(record);
      tell(one, memory, record);
      wait(1s);
      EXPECT_EQ(told, key);
      EXPECT_EQ(one.store.calls.put, 0);
      EXPECT_FALSE(world.log.has("cannot be served"));
    }
  }
};

TEST_F(KeyringMemoryBetween, a_key_that_a_command_makes_is_not_taken_for_lost) {
  expect_served(
      [](Daemon&, ScriptedMemory& memory, const Record& record) { memory.knows(record); });
}

TEST_F(KeyringMemoryBetween, a_key_that_another_host_makes_is_not_taken_for_lost) {
  expect_served([](Daemon& one, ScriptedMemory&, const Record& record) {
    one.keyring->on_change("orders", Stored{record, "1"});
  });
}

}  // namespace
}  // namespace keyfs
