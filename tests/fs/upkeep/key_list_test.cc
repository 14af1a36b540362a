#include "fs/upkeep/key_list.h"

#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using namespace std::chrono_literals;

using Listing = std::shared_ptr<KeyListing>;

struct KeyListTest : KeyringTest {
  // One page; each has `time_left`.
  Result<KeyPageRef> page(const Listing& listing, size_t number, Duration time_left = 10s) {
    return world.time.loop.run_task(listing->page(number, now() + time_left));
  }
  Result<KeyPageRef> first_page(Duration time_left = 10s) {
    return page(list.open(), 0, time_left);
  }
  // Those from page `number` to the last.
  std::vector<std::string> rest(const Listing& listing, size_t number = 0) {
    std::vector<std::string> all;
    for (bool last = false; !last; ++number) {
      const KeyPageRef next = page(listing, number).value();
      for (size_t i = 0; i < next->size(); ++i) all.emplace_back((*next)[i].id);
      last = next->last();
    }
    return all;
  }
  std::vector<std::string> ids() { return rest(list.open()); }
  std::vector<std::string> filled(size_t count) {
    fill(count);
    std::vector<std::string> all;
    for (size_t i = 0; i < count; ++i) all.push_back("key" + std::to_string(10000 + i));
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
  KeyList list{world.time.loop, daemon.store, 10s, 32, {}, 100};
};

TEST_F(KeyListTest, gives_ids_states_and_sizes_and_asks_no_region) {
  daemon.read("b");
  daemon.read("a");
  set_state("b", KeyState::kDisabled);
  daemon.forget();
  const KeyPageRef names = first_page().value();
  ASSERT_EQ(names->size(), 2u);
  EXPECT_TRUE(names->last());
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
  const KeyPageRef names = first_page().value();
  ASSERT_EQ(names->size(), 1u);
  EXPECT_EQ((*names)[0].id, "broken");
  EXPECT_TRUE((*names)[0].corrupt);
}

TEST_F(KeyListTest, goes_through_all_pages) {
  fill(250);
  const auto all = ids();
  ASSERT_EQ(all.size(), 250u);
  EXPECT_EQ(all.front(), "key10000");
  EXPECT_EQ(all.back(), "key10249");
  EXPECT_EQ(daemon.store.calls.list, 3);
}

TEST_F(KeyListTest, all_who_ask_at_the_same_time_share_one_pass) {
  const auto all = filled(250);
  daemon.store.fault.delay = 1s;
  const auto read = [&]() -> Task<size_t> {
    const Listing listing = list.open();
    size_t names = 0;
    for (size_t number = 0;; ++number) {
      const auto next = co_await listing->page(number, now() + 10s);
      if (!next) co_return 0;
      names += (*next)->size();
      if ((*next)->last()) co_return names;
    }
  };
  TaskGroup<size_t> group(world.time.loop);
  for (int i = 0; i < 100; ++i) group.start(read());
  const auto whole = [&]() -> Task<int> {
    int count = 0;
    while (auto done = co_await group.next()) count += done->value == all.size();
    co_return count;
  };
  EXPECT_EQ(world.time.loop.run_task(whole()), 100);
  EXPECT_EQ(daemon.store.calls.list, 3);
}

TEST_F(KeyListTest, a_pass_that_takes_longer_than_the_deadline_goes_on_page_by_page) {
  const auto all = filled(550);
  daemon.store.fault.delay = 3s;
  const TimePoint begin = now();
  EXPECT_EQ(ids(), all);
  EXPECT_EQ(now() - begin, 18s);
  EXPECT_EQ(daemon.store.calls.list, 6);
}

TEST_F(KeyListTest, what_was_read_is_known_to_all_who_share_the_pass) {
  filled(250);
  const Listing listing = list.open();
  const Listing other = list.open();
  EXPECT_EQ(other->known(0), nullptr);
  const KeyPageRef first = page(listing, 0).value();
  EXPECT_EQ(other->known(0), first);
  EXPECT_EQ(other->known(1), nullptr);
}

TEST_F(KeyListTest, a_page_that_fails_is_told_and_is_not_the_end) {
  auto all = filled(250);
  const Listing listing = list.open();
  EXPECT_FALSE(page(listing, 0).value()->last());
  daemon.store.fail_with(Code::kUnavailable, "refuses connections");
  const auto failed = page(listing, 1);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kUnavailable);
  EXPECT_EQ(failed.error().message, "could not list the keys: refuses connections");
  // Nor is it lost: another request gets it once it is available.
  daemon.store.heal();
  EXPECT_EQ(rest(listing, 1), std::vector<std::string>(all.begin() + 100, all.end()));
}

TEST_F(KeyListTest, a_page_that_hangs_costs_its_deadline_and_is_asked_for_anew) {
  const auto all = filled(150);
  const Listing listing = list.open();
  page(listing, 0).value();
  daemon.store.hang();
  const TimePoint begin = now();
  EXPECT_EQ(page(listing, 1, 3s).error().code, Code::kTimeout);
  EXPECT_EQ(now() - begin, 3s);
  EXPECT_EQ(daemon.store.calls.under_way, 0);
  daemon.store.heal();
  EXPECT_EQ(rest(listing).size(), all.size());
}

TEST_F(KeyListTest, a_page_is_not_given_up_with_those_who_wait_for_it) {
  filled(150);
  const Listing listing = list.open();
  page(listing, 0).value();
  daemon.store.fault.delay = 3s;
  {
    TaskGroup<Result<KeyPageRef>> group(world.time.loop);
    group.start(listing->page(1, now() + 10s));
    wait(1s);
  }
  wait(1s);
  EXPECT_TRUE(page(listing, 1).value()->last());
  EXPECT_EQ(daemon.store.calls.list, 2);
}

TEST_F(KeyListTest, with_the_last_who_holds_it_a_pass_ends) {
  filled(150);
  Listing listing = list.open();
  Listing other = list.open();
  page(listing, 0).value();
  daemon.store.hang();
  {
    TaskGroup<Result<KeyPageRef>> group(world.time.loop);
    group.start(listing->page(1, now() + 10s));
    wait(1s);
    EXPECT_EQ(daemon.store.calls.under_way, 1);
  }
  listing = nullptr;
  turns(3);
  EXPECT_EQ(daemon.store.calls.under_way, 1);
  other = nullptr;
  EXPECT_EQ(daemon.store.calls.under_way, 0);
}

TEST_F(KeyListTest, a_pass_goes_on_only_for_those_who_wait) {
  filled(250);
  const Listing listing = list.open();
  wait(5s);
  EXPECT_EQ(daemon.store.calls.list, 0);
  page(listing, 0).value();
  wait(60s);
  EXPECT_EQ(daemon.store.calls.list, 1);
}

TEST_F(KeyListTest, who_reads_slowly_loses_nothing) {
  const auto all = filled(250);
  const Listing slow = list.open();
  page(slow, 0).value();
  EXPECT_EQ(ids(), all);  // joins, and takes it to the end
  EXPECT_EQ(daemon.store.calls.list, 3);
  wait(1h);
  list.changed();
  EXPECT_EQ(rest(slow, 1).size(), 150u);
  EXPECT_EQ(daemon.store.calls.list, 3);
}

TEST_F(KeyListTest, a_pass_that_stands_still_is_joined_for_a_while_and_goes_on_later) {
  const auto all = filled(250);
  const Listing slow = list.open();
  page(slow, 0).value();
  wait(9s);
  EXPECT_EQ(list.open(), slow);
  wait(2s);
  const Listing fresh = list.open();
  EXPECT_NE(fresh, slow);
  EXPECT_EQ(rest(slow), all);
  EXPECT_EQ(rest(fresh), all);
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

TEST_F(KeyListTest, a_list_that_is_too_old_leaves_memory_by_itself) {
  fill(1);
  ids();
  EXPECT_NE(list.open(), nullptr);
  const std::weak_ptr<KeyListing> kept = list.open();
  wait(9s);
  EXPECT_FALSE(kept.expired());
  wait(2s);
  EXPECT_TRUE(kept.expired());
}

TEST_F(KeyListTest, a_pass_that_began_before_a_change_is_neither_joined_nor_kept) {
  fill(1);
  daemon.store.fault.late = 2s;  // it has read the store, and answers later
  const Listing first = list.open();
  TaskGroup<Result<KeyPageRef>> group(world.time.loop);
  group.start(first->page(0, now() + 10s));
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

TEST_F(KeyListTest, after_a_change_a_pass_begins_anew_beside_the_one_under_way) {
  auto all = filled(150);
  const Listing first = list.open();
  page(first, 0).value();
  Record record = stored("key10000");
  record.id = "a-new-one";
  rewrite(record);
  list.changed();
  EXPECT_EQ(ids().front(), "a-new-one");
  EXPECT_EQ(rest(first), all);
  EXPECT_EQ(ids().front(), "a-new-one");
}

TEST_F(KeyListTest, a_failure_is_told_and_not_kept) {
  fill(1);
  daemon.store.fail_with(Code::kUnavailable, "refuses connections");
  const auto failed = first_page();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kUnavailable);
  EXPECT_EQ(failed.error().message, "could not list the keys: refuses connections");
  daemon.store.heal();
  EXPECT_EQ(ids().size(), 1u);
}

TEST_F(KeyListTest, who_joins_a_page_with_less_time_than_their_own_is_not_ended_with_it) {
  fill(1);
  daemon.store.fault.delay = 3s;  // the first one's deadline, which stores keep to
  daemon.store.fault.error.emplace(Code::kTimeout, "timed out after 3s");
  const Listing listing = list.open();
  TaskGroup<Result<KeyPageRef>> group(world.time.loop);
  group.start(listing->page(0, now() + 3s));
  wait(2s);
  group.start(listing->page(0, now() + 10s));
  wait(500ms);
  daemon.store.heal();  // for calls that begin from now on
  const auto next = [&]() -> Task<Result<KeyPageRef>> {
    auto done = co_await group.next();
    co_return done->value;
  };
  EXPECT_EQ(world.time.loop.run_task(next()).error().code, Code::kTimeout);
  const auto second = world.time.loop.run_task(next());
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ((*second)->size(), 1u);
}

TEST_F(KeyListTest, sizes_are_remembered) {
  daemon.read("usual");
  KeyringOptions options;
  options.key_bytes = 64;
  Daemon other(world, nullptr, {}, options);
  other.read("large");
  EXPECT_EQ(list.listed_bytes("large"), std::nullopt);
  ids();
  EXPECT_EQ(list.listed_bytes("large"), 64u);
  EXPECT_EQ(list.listed_bytes("usual"), 32u);
  EXPECT_EQ(list.listed_bytes("absent"), std::nullopt);
}

TEST_F(KeyListTest, usual_sizes_are_known_until_a_complete_pass_lacks_them) {
  daemon.read("one");
  daemon.read("two");
  EXPECT_EQ(list.listed_bytes("one"), std::nullopt);
  ids();
  world.records->erase("two");
  list.changed();
  EXPECT_EQ(list.listed_bytes("two"), 32u);
  ids();
  EXPECT_EQ(list.listed_bytes("one"), 32u);
  EXPECT_EQ(list.listed_bytes("two"), std::nullopt);
}

TEST_F(KeyListTest, a_size_is_known_as_soon_as_its_page_came_and_while_the_next_pass_goes_on) {
  fill(250);
  const auto resize = [&](const std::string& id, uint32_t bytes) {
    Record record = stored(id);
    record.versions.begin()->second.bytes = bytes;
    rewrite(record);
  };
  for (const char* id : {"key10001", "key10200", "key10201"}) resize(id, 64);
  const Listing listing = list.open();
  page(listing, 0).value();
  EXPECT_EQ(list.listed_bytes("key10001"), 64u);
  EXPECT_EQ(list.listed_bytes("key10200"), std::nullopt);
  rest(listing);
  EXPECT_EQ(list.listed_bytes("key10200"), 64u);

  // What the next pass has not reached yet is known from the last one.
  resize("key10001", 32);
  resize("key10200", 48);
  world.records->erase("key10201");
  list.changed();
  const Listing next = list.open();
  page(next, 0).value();
  EXPECT_EQ(list.listed_bytes("key10001"), 32u);
  EXPECT_EQ(list.listed_bytes("key10200"), 64u);
  EXPECT_EQ(list.listed_bytes("key10201"), 64u);
  rest(next);
  EXPECT_EQ(list.listed_bytes("key10200"), 48u);
  EXPECT_EQ(list.listed_bytes("key10201"), std::nullopt);
}

TEST_F(KeyListTest, a_store_that_hangs_costs_no_more_than_the_deadline) {
  daemon.store.hang();
  const TimePoint begin = now();
  const auto failed = first_page(3s);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kTimeout);
  EXPECT_EQ(failed.error().message, "could not list the keys: timed out after 3s");
  EXPECT_EQ(now() - begin, 3s);
  EXPECT_EQ(daemon.store.calls.under_way, 0);
}

}  // namespace
}  // namespace keyfs
