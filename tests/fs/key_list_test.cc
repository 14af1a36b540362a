#include "fs/key_list.h"

#include "fs/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using namespace std::chrono_literals;

struct KeyListTest : KeyringTest {
  Result<KeyNames> get(Duration time_left = 10s) {
    return world.time.loop.run_task(list.get(now() + time_left));
  }
  std::vector<std::string> ids() {
    std::vector<std::string> all;
    for (const auto& key : *get().value()) all.push_back(key.id);
    return all;
  }
  // Copies of one record under other ids.
  void fill(size_t count) {
    daemon.read("seed");
    Record record = stored("seed");
    world.records->erase("seed");
    for (size_t i = 0; i < count; ++i) {
      record.id = "key" + std::to_string(10000 + i);
      rewrite(record);
    }
    daemon.forget();
  }

  Daemon daemon{world};
  KeyList list{world.time.loop, daemon.store, 10s, 32};
};

TEST_F(KeyListTest, gives_ids_states_and_sizes_and_asks_no_region) {
  daemon.read("b");
  daemon.read("a");
  set_state("b", KeyState::kDisabled);
  daemon.forget();
  const KeyNames names = get().value();
  ASSERT_EQ(names->size(), 2u);
  EXPECT_EQ((*names)[0].id, "a");
  EXPECT_EQ((*names)[0].state, KeyState::kEnabled);
  EXPECT_EQ((*names)[0].bytes, 32u);
  EXPECT_EQ((*names)[1].id, "b");
  EXPECT_EQ((*names)[1].state, KeyState::kDisabled);
  EXPECT_EQ(daemon.region_calls(), 0);
}

TEST_F(KeyListTest, deleted_keys_and_names_that_are_no_key_ids_are_left_out) {
  for (const char* id : {"kept", "deleted"}) daemon.read(id);
  set_state("deleted", KeyState::kDeleted);
  Record record = stored("kept");
  for (const char* id : {"with space", "a/b", "-dash", "\xc3\xa9"}) {
    record.id = id;
    rewrite(record);
  }
  EXPECT_EQ(ids(), std::vector<std::string>{"kept"});
}

TEST_F(KeyListTest, a_corrupt_record_is_listed_as_such) {
  world.records->write_raw("broken", "{");
  const KeyNames names = get().value();
  ASSERT_EQ(names->size(), 1u);
  EXPECT_EQ((*names)[0].id, "broken");
  EXPECT_TRUE((*names)[0].corrupt);
}

TEST_F(KeyListTest, goes_through_all_pages) {
  fill(2500);
  const auto all = ids();
  ASSERT_EQ(all.size(), 2500u);
  EXPECT_EQ(all.front(), "key10000");
  EXPECT_EQ(all.back(), "key12499");
  EXPECT_EQ(daemon.store.calls.list, 3);
}

TEST_F(KeyListTest, all_who_ask_at_the_same_time_share_one_pass) {
  fill(3);
  daemon.store.fault.delay = 1s;
  TaskGroup<Result<KeyNames>> group(world.time.loop);
  for (int i = 0; i < 100; ++i) group.start(list.get(now() + 10s));
  KeyNames first;
  const auto all = [&]() -> Task<int> {
    int count = 0;
    while (auto done = co_await group.next()) {
      count += done->value.has_value();
      if (first == nullptr) first = *done->value;
      EXPECT_EQ(*done->value, first);
    }
    co_return count;
  };
  EXPECT_EQ(world.time.loop.run_task(all()), 100);
  EXPECT_EQ(daemon.store.calls.list, 1);
}

TEST_F(KeyListTest, a_young_list_is_given_again_and_an_old_one_is_not) {
  fill(1);
  ids();
  wait(9s);
  ids();
  EXPECT_EQ(daemon.store.calls.list, 1);
  wait(2s);
  ids();
  EXPECT_EQ(daemon.store.calls.list, 2);
}

TEST_F(KeyListTest, a_change_makes_the_next_one_ask_the_store) {
  fill(1);
  ids();
  daemon.read("new");
  list.changed();
  EXPECT_EQ(ids(), (std::vector<std::string>{"key10000", "new"}));
  EXPECT_EQ(daemon.store.calls.list, 2);
}

TEST_F(KeyListTest, a_pass_that_began_before_a_change_is_neither_joined_nor_kept) {
  fill(1);
  daemon.store.fault.late = 2s;  // it has read the store, and answers later
  TaskGroup<Result<KeyNames>> group(world.time.loop);
  group.start(list.get(now() + 10s));
  wait(1s);
  Record record = stored("key10000");
  record.id = "new";
  rewrite(record);
  list.changed();
  EXPECT_EQ(ids().size(), 2u);  // while the first is under way
  wait(5s);
  EXPECT_EQ(ids().size(), 2u);  // and after it has come back
  EXPECT_EQ(daemon.store.calls.list, 2);
}

TEST_F(KeyListTest, a_failure_is_told_and_not_kept) {
  fill(1);
  daemon.store.fail_with(Code::kUnavailable, "refuses connections");
  const auto failed = get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kUnavailable);
  EXPECT_EQ(failed.error().message, "could not list the keys: refuses connections");
  daemon.store.heal();
  EXPECT_EQ(ids().size(), 1u);
}

TEST_F(KeyListTest, who_joins_a_pass_with_less_time_than_their_own_is_not_ended_with_it) {
  fill(1);
  daemon.store.fault.delay = 3s;  // the first one's deadline, which stores keep to
  daemon.store.fault.error.emplace(Code::kTimeout, "timed out after 3s");
  TaskGroup<Result<KeyNames>> group(world.time.loop);
  group.start(list.get(now() + 3s));
  wait(2s);
  group.start(list.get(now() + 10s));
  wait(500ms);
  daemon.store.heal();  // for passes that begin from now on
  const auto next = [&]() -> Task<Result<KeyNames>> {
    auto done = co_await group.next();
    co_return done->value;
  };
  EXPECT_EQ(world.time.loop.run_task(next()).error().code, Code::kTimeout);
  const auto second = world.time.loop.run_task(next());
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ((*second)->size(), 1u);
}

TEST_F(KeyListTest, sizes_that_are_not_the_usual_one_are_remembered) {
  daemon.read("usual");
  KeyringOptions options;
  options.key_bytes = 64;
  Daemon other(world, nullptr, {}, options);
  other.read("large");
  EXPECT_EQ(list.listed_bytes("large"), std::nullopt);
  ids();
  EXPECT_EQ(list.listed_bytes("large"), 64u);
  EXPECT_EQ(list.listed_bytes("usual"), std::nullopt);
  EXPECT_EQ(list.listed_bytes("absent"), std::nullopt);
}

TEST_F(KeyListTest, a_store_that_hangs_costs_no_more_than_the_deadline) {
  daemon.store.hang();
  const TimePoint begin = now();
  const auto failed = get(3s);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kTimeout);
  EXPECT_EQ(now() - begin, 3s);
  EXPECT_EQ(daemon.store.calls.under_way, 0);
}

}  // namespace
}  // namespace keyfs
