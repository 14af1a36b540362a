// What a watch reports while members of its cluster fail.
#include "store/etcd/watch.h"

#include <gmock/gmock.h>

#include <map>

#include "base/race.h"
#include "store/etcd/faults_fixture.h"

namespace keyfs::testing {

// The contract is tested in store_test.cc.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);

namespace {

using namespace std::chrono_literals;

// What a watch reported.
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
    auto found = world_.loop().run_task(writer_->get(id, Read::kStrong, world_.within(20s)));
    ASSERT_TRUE(found && *found);
    (*found)->record.state = KeyState::kDisabled;
    const auto done = world_.loop().run_task(
        writer_->replace((*found)->record, (*found)->revision, world_.within(20s)));
    ASSERT_TRUE(done && *done);
  }
  // What is read tells of the past for a while, in that field of its reply.
  void goes_back(const std::string& field);
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

TEST_F(EtcdWatched, a_stream_that_gets_stuck_is_left_for_another) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  ASSERT_TRUE(write(example_record("orders")));
  // The member and the connection are alive, but its data no longer arrives.
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults", R"({"do":"stall","op":"/v3/watch","count":1})");
  }
  start_watch();
  const int gaps = heard_.gaps;
  for (const char* id : {"new1", "new2", "new3", "new4"}) {
    ASSERT_TRUE(write(example_record(id)));
    await([&] { return heard_.changes.contains(id) && heard_.live; }, id);
  }
  EXPECT_EQ(heard_.gaps, gaps);
}

TEST_F(EtcdWatched, it_stays_live_while_many_calls_wait_for_their_turn) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  ASSERT_TRUE(write(example_record("orders")));
  start_watch();
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults", R"({"do":"delay","op":"/v3/kv/txn","seconds":1.5})");
  }
  const int turns = heard_.turns;
  TaskGroup<Result<PutResult>> calls(world_.loop());
  for (int i = 0; i < 40; ++i) {
    calls.start(
        store_->put_if_absent(example_record("id" + std::to_string(i)), world_.within(20s)));
  }
  const auto all = [](TaskGroup<Result<PutResult>>& group) -> Task<int> {
    int done = 0;
    while (const auto put = co_await group.next()) done += put->value && put->value->stored ? 1 : 0;
    co_return done;
  };
  EXPECT_EQ(world_.loop().run_task(all(calls)), 40);
  EXPECT_EQ(heard_.turns, turns);
}

void EtcdWatched::goes_back(const std::string& field) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  ASSERT_TRUE(write(example_record("orders")));
  ASSERT_TRUE(write(example_record("other")));
  ASSERT_TRUE(world_.loop().run_task(store_->identity(world_.within(20s))));
  start_watch();
  const int gaps = heard_.gaps;
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults",
                 R"({"do":"corrupt","op":"/v3/kv/range","value":"1","field":")" + field + "\"}");
  }
  await([&] { return !heard_.live; }, "the end of the live watch", 5s);
  for (int member = 1; member <= 3; ++member) world_.proxy(member, "DELETE", "/faults");
  await([&] { return heard_.gaps > gaps; }, "that all may have changed");
  const int turns = heard_.turns;
  disable("orders");
  await([&] { return heard_disabled("orders"); }, "a change that came afterwards");
  EXPECT_FALSE(heard_.live);
  EXPECT_EQ(heard_.turns, turns) << "what was lost stays lost";
  EXPECT_NE(store_->trouble().find("has gone back in time"), std::string::npos);
}

TEST_F(EtcdWatched, a_cluster_that_goes_back_in_time_ends_a_live_watch_and_is_heard_all_the_same) {
  goes_back("header.revision");
}

TEST_F(EtcdWatched, one_that_went_back_and_was_written_to_since_is_noticed_by_its_newest_change) {
  goes_back("kvs.0.mod_revision");
}

TEST_F(EtcdWatched,
       one_whose_revisions_have_passed_the_old_ones_is_noticed_by_how_few_changes_it_has) {
  goes_back("kvs.0.version");
}

TEST_F(EtcdWatched, a_watch_of_a_cluster_that_is_behind_what_this_host_remembers_is_never_live) {
  ASSERT_TRUE(write(example_record("orders")));
  const std::string dir = world_.state_dir("third");
  auto known = EtcdIdentity::load(world_.state_dir("other"));
  ASSERT_TRUE(known && *known);
  (*known)->revision += 100;
  ASSERT_TRUE(EtcdIdentity::store(dir, **known));
  EtcdOptions options = world_.options();
  options.state_dir = dir;
  store_ = world_.open(options);
  world_.loop().spawn(store_->watch(heard_));
  await([&] { return heard_.gaps > 0; }, "that nothing is known");
  disable("orders");
  await([&] { return heard_disabled("orders"); }, "a change");
  EXPECT_EQ(heard_.turns, 0);
}

TEST_F(EtcdWatched, what_was_read_from_one_members_own_copy_is_announced_again) {
  ASSERT_TRUE(write(example_record("orders")));
  log_in(1);
  start_watch();
  // Member 1 is left behind, then it is the only one that we reach.
  world_.act("/1/cut_peers");
  disable("orders");
  await([&] { return heard_disabled("orders"); }, "the end of the key");
  heard_.changes.clear();
  link_others(1, "cut");
  const auto old = get("orders", 12s);
  ASSERT_TRUE(old && *old);
  EXPECT_EQ((*old)->record.state, KeyState::kEnabled) << "it was to be out of date";
  EXPECT_FALSE(heard_.live);
  world_.act("/heal");
  await([&] { return heard_.live && (heard_disabled("orders")); }, "the end of the key, again");
}

}  // namespace
}  // namespace keyfs::testing
