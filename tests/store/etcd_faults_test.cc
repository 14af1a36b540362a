// The store while members of its cluster fail.
#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <vector>

#include "base/race.h"
#include "store/etcd_fixture.h"
#include "store/etcd_store.h"
#include "store/store_contract.h"

namespace keyfs::testing {

// The contract has a program of its own: etcd_store_test.cc.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);

namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class EtcdFaults : public ::testing::Test {
 protected:
  void SetUp() override { store_ = world_.open(); }
  void TearDown() override {
    world_.act("/heal");
    for (int member = 1; member <= 3; ++member) world_.proxy(member, "DELETE", "/faults");
    world_.loop().shutdown();
    store_.reset();
  }

  Result<std::optional<Stored>> get(const std::string& id, Duration within = 20s) {
    return world_.loop().run_task(store_->get(id, world_.within(within)));
  }
  Result<PutResult> put(const Record& record, Duration within = 20s) {
    return world_.loop().run_task(store_->put_if_absent(record, world_.within(within)));
  }
  Result<std::optional<Stored>> replace(const Record& record, const std::string& revision) {
    return world_.loop().run_task(store_->replace(record, revision, world_.within(20s)));
  }
  void reset_counts() {
    for (int member = 1; member <= 3; ++member) world_.proxy(member, "POST", "/stats/reset");
  }
  int calls(const std::string& path) {
    return world_.calls(1, path) + world_.calls(2, path) + world_.calls(3, path);
  }
  // The member (from 1) that leads comes first.
  EtcdOptions leader_first() {
    EtcdOptions options = world_.options();
    const std::string answer = world_.act("/leader");
    leader_ = answer.at(answer.find(": ") + 2) - '0';
    std::swap(options.endpoints.at(0), options.endpoints.at(static_cast<size_t>(leader_ - 1)));
    return options;
  }
  std::string path(int member, const char* verb) { return "/" + std::to_string(member) + verb; }

  EtcdWorld world_;
  std::unique_ptr<EtcdStore> store_;
  int leader_ = 0;
};

TEST_F(EtcdFaults, a_creation_is_one_round_trip_and_so_is_a_lost_race) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  ASSERT_TRUE(put(example_record("first")));
  reset_counts();
  const auto won = put(example_record("orders", "a"));
  ASSERT_TRUE(won && won->stored);
  EXPECT_EQ(calls("/v3/kv/txn"), 1);
  const auto lost = put(example_record("orders", "b"));
  ASSERT_TRUE(lost && !lost->stored);
  EXPECT_EQ(lost->winner.record, example_record("orders", "a"));
  EXPECT_EQ(calls("/v3/kv/txn"), 2);
  EXPECT_EQ(calls("/v3/kv/range"), 0);
}

TEST_F(EtcdFaults, a_record_that_was_saved_while_the_reply_got_lost_is_ours) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  ASSERT_TRUE(put(example_record("first")));
  world_.proxy(1, "POST", "/faults", R"({"do":"lose_reply","path":"/v3/kv/txn","count":1})");
  const auto saved = put(example_record("orders"));
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_TRUE(saved->stored);
  EXPECT_EQ((*get("orders"))->revision, saved->winner.revision);
}

TEST_F(EtcdFaults, a_change_that_was_made_while_the_reply_got_lost_is_no_conflict) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  const auto first = put(example_record("orders"));
  ASSERT_TRUE(first);
  Record changed = first->winner.record;
  changed.state = KeyState::kDisabled;
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults", R"({"do":"lose_reply","path":"/v3/kv/txn","count":1})");
  }
  const auto replaced = replace(changed, first->winner.revision);
  ASSERT_TRUE(replaced) << replaced.error().message;
  ASSERT_TRUE(*replaced);
  EXPECT_EQ((*get("orders"))->revision, (*replaced)->revision);
  EXPECT_EQ((*get("orders"))->record, changed);
}

TEST_F(EtcdFaults, a_token_that_a_restarted_member_forgot_is_renewed) {
  EtcdOptions one = world_.options();
  one.endpoints.resize(1);
  store_ = world_.open(one);
  ASSERT_TRUE(put(example_record("orders")));
  world_.act("/1/restart");
  const auto found = get("orders");
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(*found);
}

TEST_F(EtcdFaults, a_wrong_password_is_told_and_not_quoted) {
  EtcdOptions options = world_.options();
  options.password_file = world_.make_file("password", "not-the-password\n", 0600);
  store_ = world_.open(options);
  const auto found = get("orders");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kUnauthenticated);
  EXPECT_THAT(found.error().message,
              AllOf(HasSubstr("password_file"), Not(HasSubstr("not-the-password"))));
}

TEST_F(EtcdFaults, a_prefix_that_the_user_may_not_touch_is_told) {
  EtcdOptions options = world_.options();
  options.prefix = "/elsewhere";
  store_ = world_.open(options);
  const auto found = get("orders");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kDenied);
  EXPECT_THAT(found.error().message, HasSubstr("readwrite"));
}

TEST_F(EtcdFaults, without_its_client_certificate_nobody_gets_in) {
  EtcdOptions options = world_.options();
  options.cert.clear();
  options.key.clear();
  store_ = world_.open(options);
  // With TLS 1.3 the refusal comes after the handshake, and looks like any broken connection.
  EXPECT_FALSE(get("orders", 3s));
}

TEST_F(EtcdFaults, one_member_lost_in_any_way_fails_no_call) {
  ASSERT_TRUE(put(example_record("orders")));
  int round = 0;
  for (const char* verb : {"/kill", "/pause", "/cut_peers"}) {
    for (int member = 1; member <= 3; ++member) {
      world_.act(path(member, verb));
      const std::string id = "key-" + std::to_string(++round);
      const auto saved = put(example_record(id), 10s);
      ASSERT_TRUE(saved) << verb << member << ": " << saved.error().message;
      const auto found = get("orders", 10s);
      ASSERT_TRUE(found && *found) << verb << member;
      const auto missed = get("nobody", 10s);
      ASSERT_TRUE(missed && !*missed) << verb << member;
      world_.act("/heal");
      ASSERT_TRUE(*get(id));
    }
  }
}

TEST_F(EtcdFaults, a_silent_member_costs_the_first_caller_little_and_the_next_nothing) {
  ASSERT_TRUE(put(example_record("orders")));
  world_.act("/1/pause");
  ASSERT_TRUE(get("orders", 10s));
  // The others are known to answer now; connections to them may have to be opened.
  ASSERT_TRUE(get("orders", 10s));
  const TimePoint begin = world_.loop().now();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(get("orders", 10s));
  EXPECT_LT(world_.loop().now() - begin, 5 * world_.options().hedge_after);
}

TEST_F(EtcdFaults, with_two_members_lost_keys_read_and_none_is_made) {
  ASSERT_TRUE(put(example_record("orders")));
  world_.act("/2/kill");
  world_.act("/3/kill");
  auto found = get("orders", 10s);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_TRUE(*found);
  EXPECT_EQ((*found)->record, example_record("orders"));
  const auto missed = get("nobody", 3s);
  ASSERT_FALSE(missed) << "a member's own copy was believed to lack a key";
  EXPECT_EQ(missed.error().code, Code::kTimeout);
  const auto page = world_.loop().run_task(store_->list("", 10, world_.within(10s)));
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(page->entries.size(), 1u);
  const TimePoint begin = world_.loop().now();
  const auto refused = put(example_record("new"), 3s);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("key new"));
  EXPECT_LT(world_.loop().now() - begin, 4s);
  world_.act("/heal");
  const auto saved = put(example_record("newer"));
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_TRUE(saved->stored);
}

TEST_F(EtcdFaults, a_leader_that_is_cut_off_is_left_alone) {
  store_ = world_.open(leader_first());
  ASSERT_TRUE(put(example_record("orders", "a")));
  world_.act(path(leader_, "/cut_peers"));
  const auto saved = put(example_record("new"));
  ASSERT_TRUE(saved && saved->stored) << saved.error().message;
  const auto found = get("new");
  ASSERT_TRUE(found && *found) << "the cut off member's miss was believed";
}

TEST_F(EtcdFaults, a_member_that_lost_its_data_and_joined_anew_shows_the_same_records) {
  const auto first = put(example_record("orders"));
  ASSERT_TRUE(first);
  world_.act("/1/wipe");
  EtcdOptions one = world_.options();
  one.endpoints.resize(1);
  const auto other = world_.open(one);
  const auto found = world_.loop().run_task(other->get("orders", world_.within(20s)));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->revision, first->winner.revision);
  const auto again = world_.loop().run_task(
      other->put_if_absent(example_record("orders", "b"), world_.within(20s)));
  ASSERT_TRUE(again && !again->stored);
}

TEST_F(EtcdFaults, a_list_goes_on_when_its_revision_was_compacted) {
  for (const char* id : {"a", "b", "c", "d"}) ASSERT_TRUE(put(example_record(id)));
  auto page = world_.loop().run_task(store_->list("", 2, world_.within(20s)));
  ASSERT_TRUE(page && page->next);
  ASSERT_TRUE(put(example_record("e")));
  world_.act("/compact");
  page = world_.loop().run_task(store_->list(*page->next, 10, world_.within(20s)));
  ASSERT_TRUE(page) << page.error().message;
  ASSERT_EQ(page->entries.size(), 3u);
  EXPECT_EQ(page->entries[0].id, "c");
}

// What a watch told.
class Heard final : public ChangeListener {
 public:
  void on_change(const std::string& id, const std::optional<Stored>& stored) override {
    changes[id] = stored;
  }
  void on_gap() override { ++gaps; }
  void on_live(bool now, TimePoint /*as_of*/) override {
    live = now;
    ++turns;
  }
  std::map<std::string, std::optional<Stored>> changes;
  int gaps = 0;
  int turns = 0;
  bool live = false;
};

class EtcdWatched : public EtcdFaults {
 protected:
  void SetUp() override {
    EtcdFaults::SetUp();
    EtcdOptions options = world_.options();
    options.state_dir = world_.state_dir("other");
    writer_ = world_.open(options);
  }
  void TearDown() override {
    world_.loop().shutdown();
    writer_.reset();
    EtcdFaults::TearDown();
  }
  void start_watch() {
    world_.loop().spawn(store_->watch(heard_));
    await([&] { return heard_.live; }, "a live watch");
  }
  template <class Done>
  void await(Done done, const char* what, Duration within = 30s) {
    const TimePoint give_up = world_.within(within);
    while (!done() && world_.loop().now() < give_up) {
      world_.loop().run_task(turn());
    }
    ASSERT_TRUE(done()) << what;
  }
  Task<int> turn() {
    co_await world_.loop().sleep_for(5ms);
    co_return 0;
  }
  Result<PutResult> write(const Record& record) {
    return world_.loop().run_task(writer_->put_if_absent(record, world_.within(20s)));
  }
  void disable(const std::string& id) {
    auto found = world_.loop().run_task(writer_->get(id, world_.within(20s)));
    ASSERT_TRUE(found && *found);
    (*found)->record.state = KeyState::kDisabled;
    const auto done = world_.loop().run_task(
        writer_->replace((*found)->record, (*found)->revision, world_.within(20s)));
    ASSERT_TRUE(done && *done);
  }
  bool heard_disabled(const std::string& id) {
    const auto at = heard_.changes.find(id);
    return at != heard_.changes.end() && at->second &&
           at->second->record.state == KeyState::kDisabled;
  }

  std::unique_ptr<EtcdStore> writer_;
  Heard heard_;
};

TEST_F(EtcdWatched, a_change_made_elsewhere_is_heard_within_a_second) {
  ASSERT_TRUE(write(example_record("orders")));
  start_watch();
  const auto made = write(example_record("new"));
  ASSERT_TRUE(made);
  await([&] { return heard_.changes.contains("new"); }, "the creation", 1s);
  EXPECT_EQ(heard_.changes["new"]->revision, made->winner.revision);
  disable("orders");
  await([&] { return heard_disabled("orders"); }, "the end of a key", 1s);
  EXPECT_TRUE(heard_.live);
}

TEST_F(EtcdWatched, a_record_that_is_removed_or_made_unreadable_is_announced_without_content) {
  ASSERT_TRUE(write(example_record("orders")));
  start_watch();
  world_.write_raw("orders", "not a record");
  await([&] { return heard_.changes.contains("orders"); }, "the change");
  EXPECT_FALSE(heard_.changes["orders"]);
}

TEST_F(EtcdWatched, nothing_is_missed_when_the_member_that_is_watched_dies) {
  ASSERT_TRUE(write(example_record("orders")));
  ASSERT_TRUE(get("orders"));
  start_watch();
  const int gaps = heard_.gaps;
  for (const char* verb : {"/1/kill", "/2/pause", "/3/cut_peers"}) {
    world_.act(verb);
    const std::string id = std::string("new") + verb[1];
    ASSERT_TRUE(write(example_record(id)));
    await([&] { return heard_.changes.contains(id) && heard_.live; }, verb);
    world_.act("/heal");
  }
  EXPECT_EQ(heard_.gaps, gaps) << "it could go on from where it was";
}

TEST_F(EtcdWatched, a_watch_that_is_cut_off_is_not_live_and_catches_up_from_its_revision) {
  ASSERT_TRUE(write(example_record("orders")));
  ASSERT_TRUE(get("orders"));
  start_watch();
  const int gaps = heard_.gaps;
  for (const char* member : {"/1/cut_peers", "/2/cut_peers", "/3/cut_peers"}) world_.act(member);
  await([&] { return !heard_.live; }, "the watch knows that nobody can tell");
  for (const char* member : {"/1/join_peers", "/2/join_peers", "/3/join_peers"}) {
    world_.act(member);
  }
  disable("orders");
  await([&] { return heard_disabled("orders") && heard_.live; }, "the change and a live watch");
  EXPECT_EQ(heard_.gaps, gaps);
}

TEST_F(EtcdWatched, a_change_that_was_compacted_away_in_a_break_is_told_as_a_gap) {
  ASSERT_TRUE(write(example_record("orders")));
  ASSERT_TRUE(get("orders"));
  start_watch();
  const int gaps = heard_.gaps;
  EtcdOptions http = world_.options(EtcdWorld::Through::kHttp);
  http.state_dir = world_.state_dir("other");
  writer_ = world_.open(http);
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/link", R"({"state":"cut"})", "_CONTROL");
  }
  await([&] { return !heard_.live; }, "the break");
  disable("orders");
  ASSERT_TRUE(write(example_record("new")));
  world_.act("/compact");
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/link", R"({"state":"pass"})", "_CONTROL");
  }
  await([&] { return heard_.live; }, "a live watch again");
  EXPECT_GT(heard_.gaps, gaps);
  disable("new");
  await([&] { return heard_disabled("new"); }, "what came after the gap");
}

TEST_F(EtcdWatched, what_was_read_from_one_members_own_copy_is_announced_again) {
  ASSERT_TRUE(write(example_record("orders")));
  ASSERT_TRUE(get("orders"));
  start_watch();
  // Member 1 is left behind, then it is the only one that we reach.
  world_.act("/1/cut_peers");
  disable("orders");
  await([&] { return heard_disabled("orders"); }, "the end of the key");
  heard_.changes.clear();
  for (int member = 2; member <= 3; ++member) {
    world_.proxy(member, "POST", "/link", R"({"state":"cut"})", "_CONTROL");
  }
  const auto old = get("orders", 30s);
  ASSERT_TRUE(old && *old);
  EXPECT_EQ((*old)->record.state, KeyState::kEnabled) << "it was to be out of date";
  EXPECT_FALSE(heard_.live);
  world_.act("/heal");
  await([&] { return heard_.live && (heard_disabled("orders")); }, "the end of the key, again");
}

}  // namespace
}  // namespace keyfs::testing
