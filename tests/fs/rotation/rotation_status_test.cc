// What a host tells of rotation, and whether the board answers.
#include "fs/rotation/rotation_status.h"

#include <nlohmann/json.hpp>

#include "fs/rotation/fleet.h"
#include "fs/rotation/watched_board.h"
#include "support/fake_time.h"

namespace keyfs::testing {
namespace {

// Two hosts with two consumers each, of keys a and b; one of them holds the lock.
struct RotationStatusTest : ::testing::Test {
  RotationStatusTest() {
    for (int i = 0; i < 4; ++i) {
      SimConsumer consumer;
      consumer.name = "c" + std::to_string(i);
      consumer.keys = {"a", "b"};
      hosts[i % 2]->consumers.push_back(consumer);
    }
    for (SimHost* host : hosts) host->start();
    fleet.pass(1min);
    holder = fleet.holder();
    other = hosts[holder == hosts[0] ? 1 : 0];
  }
  RotationStatus status(SimHost& host) {
    const auto consumers = Consumers::open(host.loop, host.log.log(), rules, "");
    return rotation_status(host.rotation.get(), nullptr, *consumers);
  }

  Fleet fleet;
  ConsumerRules rules;
  std::vector<SimHost*> hosts = {&fleet.add("web-0"), &fleet.add("web-1")};
  SimHost* holder = nullptr;
  SimHost* other = nullptr;
};

TEST_F(RotationStatusTest, idle_hosts_tell_who_holds_the_lock_and_that_nothing_is_overdue) {
  ASSERT_NE(holder, nullptr);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.pass(6min);  // a candidate looks at the lock every five
  for (SimHost* host : hosts) {
    const RotationStatus told = status(*host);
    EXPECT_EQ(told.host, host->name);
    EXPECT_TRUE(told.may_run);
    EXPECT_EQ(told.is_holder, host == holder);
    EXPECT_EQ(told.holder, holder->name);
    EXPECT_FALSE(told.run) << told.run->run;
    EXPECT_EQ(told.overdue, 0u);
    EXPECT_EQ(told.hooks, 2u);
    EXPECT_EQ(told.outcomes.at(RefreshOutcome::What::kOk), 2u);
  }
  EXPECT_EQ(status(*holder).ended.at(RunDocument::End::kComplete), 1u);
  EXPECT_TRUE(status(*other).ended.empty());
}

TEST_F(RotationStatusTest, every_host_tells_that_a_key_is_overdue_and_the_holder_which_and_why) {
  ASSERT_NE(holder, nullptr);
  fleet.shared.keys["a"].error = Error(Code::kUnavailable, "wrapped in 1 of 2 required regions");
  fleet.rotate("a", "ta");
  fleet.rotate("b", "tb");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.pass(2min);
  const RotationStatus told = status(*holder);
  EXPECT_EQ(told.overdue, 1u);
  ASSERT_TRUE(told.overdue_tickets);
  ASSERT_EQ(told.overdue_tickets->size(), 1u);
  EXPECT_EQ(told.overdue_tickets->front().id, "a");
  EXPECT_NE(told.overdue_tickets->front().overdue_why.find("1 of 2"), std::string::npos);
  EXPECT_NE(told.overdue_tickets->front().overdue_since, "");
  EXPECT_EQ(told.ended.at(RunDocument::End::kInPart), 1u);
  EXPECT_EQ(status(*other).overdue, 1u);
  EXPECT_FALSE(status(*other).overdue_tickets);
  fleet.shared.keys["a"].error.reset();
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kSecond); }));
  fleet.pass(2min);
  for (SimHost* host : hosts) EXPECT_EQ(status(*host).overdue, 0u) << host->name;
}

TEST_F(RotationStatusTest, the_holder_tells_the_counts_of_a_run_and_others_their_own_part) {
  ASSERT_NE(holder, nullptr);
  for (SimHost* host : hosts) {
    for (SimConsumer& consumer : host->consumers) consumer.takes = 10s;
  }
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 3; }));
  const RotationStatus told = status(*holder);
  ASSERT_TRUE(told.run);
  EXPECT_EQ(told.run->run, kFirst);
  EXPECT_EQ(told.run->state, RunDocument::State::kTelling);
  ASSERT_TRUE(told.run->counts);
  EXPECT_EQ(told.run->counts->total, 4u);
  EXPECT_EQ(told.run->counts->ok, 2u);
  EXPECT_EQ(told.run->keys.size(), 1u);
  EXPECT_EQ(told.run->consumers_here, 2u);
  const RotationStatus seen = status(*other);
  ASSERT_TRUE(seen.run);
  EXPECT_EQ(seen.run->run, kFirst);
  EXPECT_FALSE(seen.run->counts);
  EXPECT_FALSE(seen.run->state);
  EXPECT_EQ(seen.run->keys.size(), 1u);
  EXPECT_EQ(seen.run->consumers_here, 2u);
  EXPECT_EQ(told.run->running_here + seen.run->running_here, 1u);
  const auto json = to_json(seen, {});
  EXPECT_TRUE(json["run"]["counts"].is_null());
  EXPECT_EQ(json["run"]["keys"][0]["id"], "a");
  EXPECT_EQ(to_json(told, {})["run"]["counts"]["ok"], 2);
}

TEST_F(RotationStatusTest, a_store_without_a_board_is_told_as_such) {
  const auto consumers = Consumers::open(other->loop, other->log.log(), rules, "");
  const auto json = to_json(rotation_status(nullptr, nullptr, *consumers), {});
  EXPECT_EQ(json["board"]["state"], "not there");
  EXPECT_EQ(json["board"]["reason"], "this store has no board");
  for (const char* unknown : {"holder", "host", "run", "overdue", "overdue_tickets"}) {
    EXPECT_TRUE(json.at(unknown).is_null()) << unknown;
  }
}

TEST(RotationStatusText, those_seen_last_are_shown_and_the_others_counted) {
  std::vector<SeenConsumer> consumers(kMaxShownConsumers + 5);
  for (size_t i = 0; i < consumers.size(); ++i) {
    consumers[i].who.uid = static_cast<uid_t>(i);
    consumers[i].who.unit = "app.service";
    consumers[i].seen = WallTime{} + std::chrono::minutes(i);
  }
  consumers.back().keys.assign(kMaxShownKeys + 7, {"orders", 3});
  consumers.back().sections = {"app"};
  RotationStatus status;
  status.consumers.consumers = consumers.size();
  status.consumers.missed = 3;
  const auto json = to_json(status, consumers);
  ASSERT_EQ(json["consumers"].size(), kMaxShownConsumers);
  EXPECT_EQ(json["consumers"][0]["uid"], 5);
  const auto& last = json["consumers"].back();
  EXPECT_EQ(last["keys"].size(), kMaxShownKeys);
  EXPECT_EQ(last["keys"][0], "orders/3");
  EXPECT_EQ(last["keys_more"], 7);
  EXPECT_EQ(last["sections"][0], "app");
  EXPECT_TRUE(last["executable"].is_null());
  EXPECT_EQ(json["consumers_known"], kMaxShownConsumers + 5);
  EXPECT_EQ(json["openings_missed"], 3);
}

TEST(WatchedBoard, tells_since_when_it_is_silent_and_why_and_that_it_answers_again) {
  using State = BoardHealth::State;
  FakeTimeLoop time;
  MemoryBoard real{time.loop, std::make_shared<MemoryDocuments>()};
  FaultyBoard faulty{time.loop, real};
  WatchedBoard board{time.loop, faulty};
  const auto ask = [&] {
    return time.loop.run_task(board.get("run/head", time.loop.now() + 10s)).has_value();
  };
  EXPECT_EQ(board.health().state, State::kUnknown);
  EXPECT_TRUE(ask());
  EXPECT_EQ(board.health().state, State::kThere);
  faulty.error = Error(Code::kTimeout, "timed out after 10s");
  EXPECT_FALSE(ask());
  const auto since = board.health().since;
  EXPECT_TRUE(since);
  time.clock.advance(1min);
  EXPECT_FALSE(ask());
  EXPECT_EQ(board.health().state, State::kSilent);
  EXPECT_EQ(board.health().since, since);
  EXPECT_EQ(board.health().why, "timed out after 10s");
  EXPECT_EQ(board.health().errors, 2u);
  faulty.error = Error(Code::kDenied, "there is no table");
  EXPECT_FALSE(ask());
  EXPECT_EQ(board.health().state, State::kNotThere);
  EXPECT_NE(board.health().since, since);
  faulty.error.reset();
  EXPECT_TRUE(ask());
  EXPECT_EQ(board.health().state, State::kThere);
  EXPECT_FALSE(board.health().since);
  EXPECT_EQ(board.health().errors, 3u);
}

}  // namespace
}  // namespace keyfs::testing
