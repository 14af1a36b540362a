// The board over a working cluster, and while its members fail.
#include "store/etcd/board.h"

#include <gmock/gmock.h>

#include <set>

#include "base/race.h"
#include "store/board_contract.h"
#include "store/etcd/faults_fixture.h"
#include "store/etcd/fixture.h"

namespace keyfs::testing {

// The contract is tested in store_test.cc.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);

namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class EtcdBoardUnderTest final : public BoardUnderTest {
 public:
  Loop& loop() override { return world_.loop(); }
  std::unique_ptr<Store> connect() override { return world_.open(); }
  void damage(const std::string& name) override {
    EtcdPutIf put;
    put.key = world_.prefix() + "/board/" + name;
    put.value = "{}";
    const std::string body = to_json(put);
    EXPECT_TRUE(world_.call(0, kEtcdTxnPath, body).succeeded);
  }

 private:
  EtcdWorld world_;
};

INSTANTIATE_TEST_SUITE_P(Etcd, BoardContract,
                         ::testing::Values([] { return std::make_unique<EtcdBoardUnderTest>(); }));

class Heard final : public BoardListener {
 public:
  void on_change(const std::string& name) override { changed.insert(name); }
  void on_gap() override { ++gaps; }
  std::set<std::string> changed;
  int gaps = 0;
};

// store_ goes through the proxies that know requests, other_ straight to the members.
class EtcdBoardFaults : public EtcdFaults {
 protected:
  void SetUp() override {
    EtcdFaults::SetUp();
    EtcdOptions options = world_.options();
    options.state_dir = world_.state_dir("other");
    other_ = world_.open(options);
    store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
    ASSERT_TRUE(put("run/first", "1"));
    ASSERT_TRUE(run(other_->identity(world_.within(20s))));
  }
  void TearDown() override {
    world_.loop().shutdown();
    other_.reset();
    EtcdFaults::TearDown();
  }
  template <class T>
  T run(Task<T> task) {
    return world_.loop().run_task(std::move(task));
  }
  Board& board() { return *store_->board(); }
  Board& other() { return *other_->board(); }
  Result<BoardWrite> put(const std::string& name, const std::string& text, Duration within = 20s) {
    return run(board().put_if_absent(name, text, world_.within(within)));
  }
  Result<BoardWrite> replace(const BoardWrite& there, const std::string& text) {
    return run(board().replace(there.now->name, text, there.now->revision, world_.within(20s)));
  }
  std::optional<BoardDocument> seen_by_other(const std::string& name) {
    const auto found = run(other().get(name, world_.within(20s)));
    EXPECT_TRUE(found) << found.error().message;
    return found ? *found : std::nullopt;
  }
  void at_all_proxies(const std::string& fault) {
    for (int member = 1; member <= 3; ++member) world_.proxy(member, "POST", "/faults", fault);
  }
  // The write is carried out, its reply is lost at every member in the first round, and what is
  // sent in the second one waits for so long that `meanwhile` comes before it.
  Result<BoardWrite> lost_and(Task<Result<BoardWrite>> task,
                              const std::function<void()>& meanwhile) {
    at_all_proxies(R"({"do":"lose_reply","path":"/v3/kv/txn","count":1})");
    at_all_proxies(R"({"do":"delay","path":"/v3/kv/txn","seconds":1.5})");
    TaskGroup<Result<BoardWrite>> group(world_.loop());
    group.start(std::move(task));
    const auto early = run(group.next(world_.within(600ms)));
    EXPECT_FALSE(early) << "it did not have to be sent again";
    meanwhile();
    auto finished = run(group.next());
    for (int member = 1; member <= 3; ++member) world_.proxy(member, "DELETE", "/faults");
    return std::move(finished->value);
  }
  template <class Done>
  void await(Done done, const char* what, Duration within = 30s) {
    const TimePoint give_up = world_.within(within);
    while (!done() && world_.loop().now() < give_up) run(turn());
    ASSERT_TRUE(done()) << what;
  }
  Task<int> turn() {
    co_await world_.loop().sleep_for(5ms);
    co_return 0;
  }

  std::unique_ptr<EtcdStore> other_;
};

TEST_F(EtcdBoardFaults, each_write_is_one_round_trip_and_no_change_of_a_record) {
  EtcdOptions options = world_.options(EtcdWorld::Through::kHttp);
  options.hedge_after = 20s;  // a disk that is slow to sync makes no second one
  options.attempt_timeout = 20s;
  store_ = world_.open(options);
  ASSERT_TRUE(put("run/second", "1"));
  reset_counts();
  auto there = put("run/head", "1");
  ASSERT_TRUE(there && there->done);
  there = replace(*there, "2");
  ASSERT_TRUE(there && there->done);
  EXPECT_FALSE(put("run/head", "3")->done);
  EXPECT_TRUE(run(board().remove("run/head", there->now->revision, world_.within(20s)))->done);
  EXPECT_EQ(calls("/v3/kv/txn"), 4);
  EXPECT_EQ(calls("/v3/kv/range"), 0);
  const auto changed =
      world_.call(0, kEtcdRangePath, to_json(EtcdRange(world_.prefix() + "/changed")));
  EXPECT_TRUE(changed.kvs.empty());
}

TEST_F(EtcdBoardFaults, a_write_whose_reply_was_lost_is_known_as_our_own) {
  const std::string lose = R"({"do":"lose_reply","path":"/v3/kv/txn","count":1})";
  at_all_proxies(lose);
  auto there = put("run/head", "1");
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->revision, seen_by_other("run/head")->revision);
  at_all_proxies(lose);
  there = replace(*there, "2");
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->revision, seen_by_other("run/head")->revision);
  at_all_proxies(lose);
  const auto removed = run(board().remove("run/head", there->now->revision, world_.within(20s)));
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(removed->done);
  EXPECT_FALSE(seen_by_other("run/head"));
}

TEST_F(EtcdBoardFaults, a_write_whose_reply_was_lost_is_our_own_though_others_wrote_since) {
  const std::string name = "run/head";
  auto there = lost_and(board().put_if_absent(name, "1", world_.within(30s)), [&] {
    for (int other_write = 0; other_write < 3; ++other_write) {
      const auto now = seen_by_other(name);
      ASSERT_TRUE(now) << "the lost write was to be made by now";
      ASSERT_TRUE(run(other().replace(name, "2", now->revision, world_.within(20s)))->done);
    }
  });
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->text, "2") << "and told what is there now";
  there = lost_and(board().replace(name, "3", there->now->revision, world_.within(30s)), [&] {
    const auto now = seen_by_other(name);
    ASSERT_EQ(now->text, "3");
    ASSERT_TRUE(run(other().replace(name, "4", now->revision, world_.within(20s)))->done);
  });
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->text, "4");
}

TEST_F(EtcdBoardFaults, one_member_lost_in_any_way_fails_no_call) {
  store_ = world_.open();
  auto there = put("run/head", "0");
  ASSERT_TRUE(there && there->done);
  int round = 0;
  for (const char* verb : {"/kill", "/pause", "/cut_peers"}) {
    for (int member = 1; member <= 3; ++member) {
      world_.act(path(member, verb));
      there = replace(*there, std::to_string(++round));
      ASSERT_TRUE(there && there->done) << verb << member << ": " << there.error().message;
      const auto found = run(board().get("run/head", world_.within(10s)));
      ASSERT_TRUE(found && *found) << verb << member;
      EXPECT_EQ((*found)->text, std::to_string(round));
      const auto missed = run(board().get("run/none", world_.within(10s)));
      ASSERT_TRUE(missed && !*missed) << verb << member;
      EXPECT_TRUE(run(board().list("run/", "", 10, world_.within(10s)))) << verb << member;
      world_.act("/heal");
    }
  }
}

TEST_F(EtcdBoardFaults, without_a_quorum_nothing_is_certain_and_a_peek_shows_a_members_copy) {
  store_ = world_.open();
  auto there = put("run/head", "1");
  ASSERT_TRUE(there && there->done);
  log_in(1);
  world_.act("/2/kill");
  world_.act("/3/kill");
  EXPECT_EQ(run(board().get("run/head", world_.within(3s))).error().code, Code::kTimeout);
  EXPECT_FALSE(run(board().list("run/", "", 10, world_.within(3s))));
  const auto late = run(board().replace("run/head", "2", there->now->revision, world_.within(3s)));
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message, HasSubstr("outcome unknown: document run/head"));
  const auto peeked = run(board().peek("run/head", world_.within(10s)));
  ASSERT_TRUE(peeked && *peeked) << peeked.error().message;
  world_.act("/heal");
  EXPECT_TRUE(run(board().get("run/head", world_.within(20s))));
}

TEST_F(EtcdBoardFaults, a_cluster_that_has_gone_back_takes_no_write) {
  const std::string dir = world_.state_dir("third");
  auto known = EtcdIdentity::load(world_.state_dir("other"));
  ASSERT_TRUE(known && *known);
  (*known)->revision += 1000;
  ASSERT_TRUE(EtcdIdentity::store(dir, **known));
  EtcdOptions options = world_.options();
  options.state_dir = dir;
  store_ = world_.open(options);
  EXPECT_TRUE(*run(board().get("run/first", world_.within(20s))));
  const auto refused = put("run/head", "1");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr("gone back in time"));
}

TEST_F(EtcdBoardFaults, a_watch_misses_nothing_when_its_member_dies) {
  store_ = world_.open();
  Heard heard;
  world_.loop().spawn(board().watch(heard));
  await([&] { return heard.gaps == 1; }, "the beginning");
  for (const char* verb : {"/1/kill", "/2/pause", "/3/cut_peers"}) {
    world_.act(verb);
    const std::string name = std::string("run/new") + verb[1];
    ASSERT_TRUE(run(other().put_if_absent(name, "1", world_.within(20s)))->done);
    await([&] { return heard.changed.contains(name); }, verb);
    world_.act("/heal");
  }
  EXPECT_EQ(heard.gaps, 1) << "it could go on from where it was";
  world_.loop().shutdown();
}

TEST_F(EtcdBoardFaults, a_change_that_was_compacted_away_in_a_break_is_told_as_a_gap) {
  store_ = world_.open();
  Heard heard;
  world_.loop().spawn(board().watch(heard));
  await([&] { return heard.gaps == 1; }, "the beginning");
  EtcdOptions http = world_.options(EtcdWorld::Through::kHttp);
  http.state_dir = world_.state_dir("other");
  other_ = world_.open(http);
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/link", R"({"state":"cut"})", "_CONTROL");
  }
  ASSERT_TRUE(run(other().put_if_absent("run/one", "1", world_.within(20s)))->done);
  ASSERT_TRUE(run(other().put_if_absent("run/two", "1", world_.within(20s)))->done);
  world_.act("/compact");
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/link", R"({"state":"pass"})", "_CONTROL");
  }
  await([&] { return heard.gaps == 2; }, "the gap");
  ASSERT_TRUE(run(other().put_if_absent("run/three", "1", world_.within(20s)))->done);
  await([&] { return heard.changed.contains("run/three"); }, "what came after it");
  world_.loop().shutdown();
}

}  // namespace
}  // namespace keyfs::testing
