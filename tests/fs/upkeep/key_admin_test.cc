#include "fs/upkeep/key_admin.h"

#include <functional>
#include <optional>
#include <string>

#include "fs/keys/keyring_fixture.h"
#include "fs/upkeep/scripted_notebook.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::ScriptedNotebook;
using namespace std::chrono_literals;

struct KeyAdminTest : KeyringTest {
  Result<AdminCreated> create(const std::string& id, uint32_t bytes = 32) {
    return run(admin.create(id, bytes, now() + 10s));
  }
  Result<StateChange> set(const std::string& id, KeyState state) {
    return run(admin.set_state(id, state, now() + 10s));
  }
  Result<KeyDescription> describe(const std::string& id) {
    return run(admin.describe(id, now() + 10s));
  }
  template <class T>
  T run(Task<T> task) {
    return world.time.loop.run_task(std::move(task));
  }

  Daemon daemon{world};
  ScriptedNotebook notebook;
  KeyAdmin admin{world.time.loop,  daemon.store, *daemon.regions,
                 daemon.no_memory, notebook,     "admin-host"};
};

TEST_F(KeyAdminTest, creates_a_key_that_reads) {
  const auto made = create("orders", 16);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(made->created);
  EXPECT_EQ(made->version, 1u);
  EXPECT_EQ(made->regions, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(made->missing.empty());
  EXPECT_EQ(stored("orders").versions.at(1).creator, "admin-host");
  EXPECT_EQ(daemon.read("orders", false).size(), 16u);
}

TEST_F(KeyAdminTest, creating_what_exists_returns_it_and_changes_nothing) {
  create("orders");
  set("orders", KeyState::kDisabled);
  const std::string before = world.records->find("orders")->json;
  daemon.forget();
  const auto again = create("orders", 64);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->state, KeyState::kDisabled);
  EXPECT_EQ(again->regions.size(), 3u);
  EXPECT_EQ(world.records->find("orders")->json, before);
  EXPECT_EQ(daemon.region_calls(), 0);
}

TEST_F(KeyAdminTest, the_loser_of_a_create_race_is_told_that_it_exists) {
  create("orders");
  const std::string winner = world.records->find("orders")->json;
  world.records->erase("orders");
  daemon.store.before_write = [&] { world.records->write_raw("orders", winner); };
  const auto made = create("orders");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_FALSE(made->created);
  EXPECT_EQ(world.records->find("orders")->json, winner);
}

TEST_F(KeyAdminTest, a_key_that_cannot_be_looked_for_is_not_made) {
  daemon.store.fail_with(Code::kUnavailable, "refuses connections");
  const auto made = create("orders");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kUnavailable);
  EXPECT_NE(made.error().message.find("refuses connections"), std::string::npos);
  EXPECT_EQ(daemon.region_calls(), 0);
  daemon.store.heal();
  world.records->write_raw("orders", "{");
  EXPECT_EQ(create("orders").error().code, Code::kCorrupt);
  EXPECT_EQ(world.records->find("orders")->json, "{");
}

TEST_F(KeyAdminTest, a_key_is_made_only_where_this_host_has_never_seen_it_for_certain) {
  testing::ScriptedMemory memory(world.time.loop);
  KeyAdmin host(world.time.loop, daemon.store, *daemon.regions, memory, notebook, "admin-host");
  const auto made = [&] {
    const auto told = run(host.create("orders", 32, now() + 10s));
    return told ? "made" : std::string(to_string(told.error().code));
  };
  memory.says(Recall::What::kKnown);
  EXPECT_EQ(made(), "corrupt");
  memory.says(Recall::What::kUnknown);
  EXPECT_EQ(made(), "unavailable");
  memory.says(Recall::What::kNever);
  memory.hangs = true;
  EXPECT_EQ(made(), "unavailable");
  EXPECT_EQ(daemon.region_calls(), 0);
  EXPECT_FALSE(world.records->find("orders"));
  memory.hangs = false;
  EXPECT_EQ(made(), "made");
}

TEST_F(KeyAdminTest, a_record_that_goes_back_is_not_described_as_if_it_were_served) {
  create("orders");
  testing::ScriptedMemory memory(world.time.loop);
  Record seen = stored("orders");
  seen.serial = 9;
  memory.knows(seen);
  KeyAdmin host(world.time.loop, daemon.store, *daemon.regions, memory, notebook, "admin-host");
  const auto told = run(host.describe("orders", now() + 10s));
  ASSERT_FALSE(told);
  EXPECT_EQ(told.error().code, Code::kCorrupt);
}

TEST_F(KeyAdminTest, a_key_that_this_host_could_not_remember_is_not_made) {
  notebook.cannot_prove.emplace(Code::kUnavailable, "the disk is full");
  const auto made = create("orders");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kUnavailable);
  EXPECT_NE(made.error().message.find("the disk is full"), std::string::npos);
  EXPECT_EQ(daemon.region_calls(), 0);
  EXPECT_FALSE(world.records->find("orders"));
}

TEST_F(KeyAdminTest, what_is_made_seen_or_changed_is_noted_before_it_is_told) {
  ASSERT_TRUE(create("orders"));
  EXPECT_EQ(notebook.noted.at("orders"), stored("orders"));
  notebook.noted.clear();
  ASSERT_TRUE(create("orders"));
  EXPECT_EQ(notebook.noted.at("orders"), stored("orders"));
  EXPECT_EQ(notebook.proven, 1) << "what exists needs no room";
  for (const KeyState state : {KeyState::kDisabled, KeyState::kEnabled, KeyState::kDeleted}) {
    for (int twice = 0; twice < 2; ++twice) {
      notebook.noted.clear();
      const auto changed = set("orders", state);
      ASSERT_TRUE(changed);
      EXPECT_FALSE(changed->not_noted);
      EXPECT_EQ(notebook.noted.at("orders").state, state);
      EXPECT_EQ(notebook.noted.at("orders"), stored("orders"));
    }
  }
}

TEST_F(KeyAdminTest, what_is_described_was_seen_and_so_was_a_damaged_record) {
  create("orders");
  ASSERT_TRUE(describe("orders"));
  EXPECT_TRUE(notebook.seen.contains("orders"));
  EXPECT_FALSE(describe("absent"));
  EXPECT_FALSE(notebook.seen.contains("absent"));
  world.records->write_raw("one", "{");
  world.records->write_raw("two", "{");
  world.records->write_raw("three", "{");
  EXPECT_EQ(describe("one").error().code, Code::kCorrupt);
  EXPECT_EQ(create("two").error().code, Code::kCorrupt);
  EXPECT_EQ(set("three", KeyState::kDisabled).error().code, Code::kCorrupt);
  for (const char* id : {"one", "two", "three"}) EXPECT_TRUE(notebook.seen.contains(id)) << id;
  notebook.cannot_write.emplace(Code::kDenied, "not for this user");
  EXPECT_TRUE(describe("orders")) << "the answer does not depend on it";
}

TEST_F(KeyAdminTest, a_key_is_refused_also_where_that_cannot_be_noted_and_that_is_told) {
  create("orders");
  notebook.cannot_write.emplace(Code::kUnavailable, "the disk is full");
  const auto changed = set("orders", KeyState::kDisabled);
  ASSERT_TRUE(changed);
  ASSERT_TRUE(changed->not_noted);
  EXPECT_EQ(changed->not_noted->message, "the disk is full");
  EXPECT_EQ(stored("orders").state, KeyState::kDisabled);
  const auto made = create("bills");
  ASSERT_TRUE(made);
  EXPECT_TRUE(made->not_noted) << "the disk filled up in between";
}

TEST_F(KeyAdminTest, a_record_that_went_back_is_not_changed) {
  create("orders");
  const Record before = stored("orders");
  Record newer = before;
  newer.serial = before.serial + 3;
  Record deleted = before;
  deleted.state = KeyState::kDeleted;
  Record other = before;
  other.versions.at(1).check->front() ^= 1;
  testing::ScriptedMemory memory(world.time.loop);
  KeyAdmin host(world.time.loop, daemon.store, *daemon.regions, memory, notebook, "admin-host");
  for (const Record& seen : {newer, deleted, other}) {
    memory.knows(seen);
    for (const KeyState state : {KeyState::kEnabled, KeyState::kDisabled, KeyState::kDeleted}) {
      const auto changed = run(host.set_state("orders", state, now() + 10s));
      ASSERT_FALSE(changed);
      EXPECT_EQ(changed.error().code, Code::kCorrupt) << changed.error().message;
      EXPECT_EQ(stored("orders"), before);
    }
  }
}

TEST_F(KeyAdminTest, too_few_regions_make_no_key_and_the_missing_ones_are_told) {
  daemon.region[2]->fail_with(Code::kUnavailable, "is down");
  const auto made = create("orders");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->regions, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(made->missing.size(), 1u);
  EXPECT_EQ(made->missing[0].region, "c");

  daemon.region[1]->fail_with(Code::kUnavailable, "is down");
  const auto none = create("bills");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("wrapped in 1 of 2 required regions"), std::string::npos)
      << none.error().message;
  EXPECT_FALSE(world.records->find("bills"));
}

TEST_F(KeyAdminTest, a_disabled_key_can_be_enabled_again_and_is_the_same) {
  const std::string key = daemon.read("orders");
  const auto disabled = set("orders", KeyState::kDisabled);
  ASSERT_TRUE(disabled);
  EXPECT_EQ(disabled->before, KeyState::kEnabled);
  EXPECT_EQ(disabled->after, KeyState::kDisabled);
  EXPECT_NE(Daemon(world).read("orders"), key);
  ASSERT_TRUE(set("orders", KeyState::kEnabled));
  EXPECT_EQ(Daemon(world).read("orders", false), key);
}

TEST_F(KeyAdminTest, a_deleted_key_has_no_wrap_left_and_an_old_tombstone_loses_its_own) {
  const std::string key = daemon.read("orders");
  const Record before = stored("orders");
  ASSERT_TRUE(set("orders", KeyState::kDeleted));
  const Record after = stored("orders");
  EXPECT_EQ(after.state, KeyState::kDeleted);
  EXPECT_EQ(after.serial, before.serial + 1);
  ASSERT_EQ(after.versions.size(), before.versions.size());
  const auto told = describe("orders");
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->versions[0].missing.empty()) << "nothing is to be healed";
  EXPECT_TRUE(after.versions.at(1).wrapped.empty());
  EXPECT_FALSE(after.versions.at(1).destroyed.empty());
  EXPECT_EQ(after.versions.at(1).check, before.versions.at(1).check);
  // After restoring the state there is still nothing to serve.
  Record forged = after;
  forged.state = KeyState::kEnabled;
  rewrite(forged);
  EXPECT_NE(Daemon(world).read("orders", false), key);

  // As an older keyfs left it.
  Record old = before;
  old.state = KeyState::kDeleted;
  rewrite(old);
  const auto again = set("orders", KeyState::kDeleted);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->before, KeyState::kDeleted);
  EXPECT_TRUE(stored("orders").versions.at(1).wrapped.empty());
}

TEST_F(KeyAdminTest, a_key_that_its_check_value_would_give_away_is_not_made) {
  for (const uint32_t bytes : {1u, 8u, 15u}) {
    const auto made = create("orders", bytes);
    ASSERT_FALSE(made) << bytes;
    EXPECT_EQ(made.error().code, Code::kInvalid);
    EXPECT_NE(made.error().message.find("at least 16 bytes"), std::string::npos);
  }
  EXPECT_FALSE(world.records->find("orders"));
  EXPECT_EQ(daemon.region_calls(), 0);
  EXPECT_TRUE(create("orders", 16));
}

TEST_F(KeyAdminTest, each_change_of_state_raises_the_serial_and_nothing_else_does) {
  create("orders");
  EXPECT_EQ(stored("orders").serial, 1u);
  set("orders", KeyState::kDisabled);
  EXPECT_EQ(stored("orders").serial, 2u);
  set("orders", KeyState::kDisabled);
  create("orders");
  EXPECT_EQ(stored("orders").serial, 2u);
  set("orders", KeyState::kEnabled);
  EXPECT_EQ(stored("orders").serial, 3u);
}

TEST_F(KeyAdminTest, the_state_that_it_has_already_costs_no_write) {
  create("orders");
  daemon.forget();
  const auto same = set("orders", KeyState::kEnabled);
  ASSERT_TRUE(same);
  EXPECT_EQ(same->before, same->after);
  EXPECT_EQ(daemon.store.calls.replace, 0);
}

TEST_F(KeyAdminTest, deleted_is_for_good_and_the_id_is_never_made_anew) {
  const std::string key = daemon.read("orders");
  ASSERT_TRUE(set("orders", KeyState::kDeleted));
  const std::string before = world.records->find("orders")->json;
  for (const KeyState state : {KeyState::kEnabled, KeyState::kDisabled}) {
    const auto refused = set("orders", state);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kInvalid);
    EXPECT_NE(refused.error().message.find("permanent"), std::string::npos);
  }
  EXPECT_TRUE(set("orders", KeyState::kDeleted));
  const auto made = create("orders");
  ASSERT_TRUE(made);
  EXPECT_FALSE(made->created);
  EXPECT_EQ(made->state, KeyState::kDeleted);
  EXPECT_EQ(world.records->find("orders")->json, before);
}

TEST_F(KeyAdminTest, a_key_that_is_not_there_is_told_and_not_made) {
  for (const auto& error :
       {set("orders", KeyState::kDisabled).error(), describe("orders").error()}) {
    EXPECT_EQ(error.code, Code::kInvalid);
    EXPECT_EQ(error.message, "there is no key orders");
  }
  EXPECT_FALSE(world.records->find("orders"));
}

TEST_F(KeyAdminTest, what_is_no_key_id_is_refused_before_anything_is_asked) {
  for (const char* id : {"", ".keyfs", "a/b", "-x"}) {
    EXPECT_EQ(create(id).error().code, Code::kInvalid);
    EXPECT_EQ(set(id, KeyState::kDeleted).error().code, Code::kInvalid);
    EXPECT_EQ(describe(id).error().code, Code::kInvalid);
  }
  EXPECT_EQ(daemon.store.calls.all(), 0);
}

TEST_F(KeyAdminTest, a_change_of_state_keeps_what_another_wrote_meanwhile) {
  create("orders");
  daemon.store.before_write = [&] {
    Record record = stored("orders");
    record.versions.at(1).wrapped.erase("c");
    rewrite(record);
  };
  ASSERT_TRUE(set("orders", KeyState::kDisabled));
  EXPECT_EQ(stored("orders").state, KeyState::kDisabled);
  EXPECT_EQ(stored("orders").versions.at(1).wrapped.size(), 2u);
}

TEST_F(KeyAdminTest, a_delete_by_another_wins_over_an_enable) {
  create("orders");
  set("orders", KeyState::kDisabled);
  daemon.store.before_write = [&] { set_state("orders", KeyState::kDeleted); };
  EXPECT_FALSE(set("orders", KeyState::kEnabled));
  EXPECT_EQ(stored("orders").state, KeyState::kDeleted);
}

TEST_F(KeyAdminTest, gives_up_on_a_record_that_others_keep_changing) {
  create("orders");
  std::function<void()> meddle = [&] {
    rewrite(stored("orders"));
    daemon.store.before_write = meddle;
  };
  daemon.store.before_write = meddle;
  const auto changed = set("orders", KeyState::kDisabled);
  daemon.store.before_write = nullptr;
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code, Code::kUnavailable);
  EXPECT_EQ(stored("orders").state, KeyState::kEnabled);
}

TEST_F(KeyAdminTest, describes_a_key_without_unwrapping_it) {
  create("orders", 48);
  daemon.forget();
  const auto told = describe("orders");
  ASSERT_TRUE(told);
  EXPECT_EQ(told->id, "orders");
  EXPECT_EQ(told->current, 1u);
  EXPECT_FALSE(told->degraded());
  ASSERT_EQ(told->versions.size(), 1u);
  EXPECT_EQ(told->versions[0].bytes, 48u);
  EXPECT_TRUE(told->versions[0].has_check);
  EXPECT_EQ(told->versions[0].creator, "admin-host");
  ASSERT_EQ(told->versions[0].wrapped.size(), 3u);
  EXPECT_EQ(told->versions[0].wrapped[0].region, "a");
  EXPECT_FALSE(told->versions[0].wrapped[0].master.empty());
  EXPECT_EQ(daemon.region_calls(), 0);
}

TEST_F(KeyAdminTest, a_key_that_lacks_a_region_is_degraded) {
  daemon.region[1]->fail_with(Code::kUnavailable);
  create("orders");
  const auto told = describe("orders");
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->degraded());
  EXPECT_EQ(told->versions[0].missing, std::vector<std::string>{"b"});
}

struct SharedMasterTest : KeyringTest {
  SharedMasterTest() { world.masters[1] = world.masters[0]; }
};

TEST_F(SharedMasterTest,
       a_key_that_a_regions_own_multi_region_key_wrapped_elsewhere_is_not_degraded) {
  Daemon daemon(world);
  ScriptedNotebook notebook;
  KeyAdmin admin(world.time.loop, daemon.store, *daemon.regions, daemon.no_memory, notebook,
                 "here");
  daemon.region[1]->fail_with(Code::kUnavailable);
  ASSERT_TRUE(world.time.loop.run_task(admin.create("orders", 32, now() + 10s)));
  ASSERT_EQ(stored("orders").versions.at(1).wrapped.size(), 2u);
  const auto told = world.time.loop.run_task(admin.describe("orders", now() + 10s));
  ASSERT_TRUE(told);
  EXPECT_EQ(told->versions[0].missing, std::vector<std::string>());
  EXPECT_FALSE(told->degraded());
}

// The store is asked, another command changes the record and notes that, and the memory answers.
struct KeyAdminBeside : KeyAdminTest {
  KeyAdminBeside() { memory.delay = 50ms; }
  void meanwhile(Record record) {
    world.time.loop.spawn([](KeyAdminBeside* test, Record written) -> Task<void> {
      co_await test->world.time.loop.sleep_for(20ms);
      test->rewrite(written);
      test->memory.knows(std::move(written));
    }(this, std::move(record)));
  }
  testing::ScriptedMemory memory{world.time.loop};
  KeyAdmin host{world.time.loop, daemon.store, *daemon.regions, memory, notebook, "admin-host"};
};

TEST_F(KeyAdminBeside, a_change_by_another_command_is_not_taken_for_damage) {
  create("orders");
  Record disabled = stored("orders");
  memory.knows(disabled);
  disabled.state = KeyState::kDisabled;
  ++disabled.serial;
  meanwhile(disabled);
  const auto told = run(host.describe("orders", now() + 10s));
  ASSERT_TRUE(told) << told.error().message;
  EXPECT_EQ(told->state, KeyState::kDisabled);
  Record enabled = disabled;
  enabled.state = KeyState::kEnabled;
  ++enabled.serial;
  meanwhile(enabled);
  const auto changed = run(host.set_state("orders", KeyState::kDisabled, now() + 10s));
  ASSERT_TRUE(changed) << changed.error().message;
  EXPECT_EQ(changed->before, KeyState::kEnabled);
  EXPECT_EQ(stored("orders").serial, enabled.serial + 1);
}

TEST_F(KeyAdminBeside, a_key_that_another_command_made_is_not_taken_for_lost) {
  create("orders");
  const Record record = stored("orders");
  world.records->erase("orders");
  memory.says(Recall::What::kNever);
  meanwhile(record);
  const auto made = run(host.create("orders", 32, now() + 10s));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_FALSE(made->created);
  EXPECT_EQ(stored("orders"), record);
}

}  // namespace
}  // namespace keyfs
