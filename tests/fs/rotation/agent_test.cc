// One host, and a runner that the test plays by hand.
#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

class Agent : public ::testing::Test {
 protected:
  Agent() {
    fleet.shared.keys["a"].current = 2;
    SimConsumer consumer;
    consumer.name = "nginx";
    consumer.keys = {"a"};
    web.consumers.push_back(consumer);
    set_head(2);
    run.run = run_of(1);
    run.epoch = 2;
    run.state = RunDocument::State::kEnrolling;
    RunKey key;
    key.id = "a";
    key.token = "ta";
    key.state = RunKey::State::kCurrent;
    key.current = 2;
    run.keys = {key};
    write(run_name(run.run), to_text(run));
  }
  void SetUp() override {
    web.start(false);
    PulseNews news;
    news.run = run.run;
    ASSERT_TRUE(fleet.ask(
        tell_pulse(other.board, other.loop, other.random, news, 1, other.loop.now() + 10s)));
    ASSERT_TRUE(fleet.until([&] { return fleet.shared.documents->find(sheet).has_value(); }));
  }
  void write(const std::string& name, std::string text) {
    const auto there = fleet.shared.documents->find(name);
    EXPECT_TRUE(
        fleet.shared.documents->write(name, std::move(text), there ? there->revision : "").done);
  }
  void set_head(uint64_t epoch) {
    Head head;
    head.epoch = epoch;
    head.holder = "runner";
    write(kHeadName, to_text(head));
  }
  Row row() const { return parse_sheet(fleet.shared.documents->find(sheet)->text)->rows.at(0); }
  void change(const std::function<bool(Row&)>& how) {
    Sheet there = *parse_sheet(fleet.shared.documents->find(sheet)->text);
    EXPECT_TRUE(how(there.rows.at(0)));
    write(sheet, to_text(there));
  }
  size_t hooks() const { return fleet.shared.hooks.size(); }

  Fleet fleet;
  SimHost& web = fleet.add("web-1");
  SimHost& other = fleet.add("other");
  RunDocument run;
  const std::string sheet = sheet_name(run_of(1), "web-1", 0);
};

TEST_F(Agent, enrols_its_consumers_and_runs_what_is_ordered_once) {
  EXPECT_EQ(row().consumer, "nginx");
  EXPECT_EQ(row().state, RowState::kWaiting);
  fleet.pass(1min);
  EXPECT_EQ(hooks(), 0u);
  change([](Row& one) { return order(one, 2); });
  ASSERT_TRUE(fleet.until([&] { return row().state == RowState::kOk; }, 1min));
  fleet.pass(2min);
  EXPECT_EQ(hooks(), 1u);
  EXPECT_EQ(fleet.shared.hooks[0].keys, (std::vector<KeyVersion>{{"a", 2}}));
}

TEST_F(Agent, an_order_of_a_lower_epoch_is_refused) {
  change([](Row& one) { return order(one, 1); });
  fleet.pass(5min);
  EXPECT_EQ(hooks(), 0u);
  EXPECT_EQ(row().state, RowState::kOrdered);
  change([](Row& one) { return withdraw_order(one, 2) && order(one, 2); });
  ASSERT_TRUE(fleet.until([&] { return row().state == RowState::kOk; }, 1min));
  EXPECT_EQ(hooks(), 1u);
}

TEST_F(Agent, an_order_of_an_epoch_that_nobody_has_is_refused) {
  change([](Row& one) { return order(one, 3); });
  fleet.pass(1min);
  EXPECT_EQ(hooks(), 0u);
  set_head(3);
  ASSERT_TRUE(fleet.until([&] { return row().state == RowState::kOk; }, 1min));
}

TEST_F(Agent, an_order_that_is_taken_back_while_it_is_proven_runs_no_hook) {
  fleet.shared.keys["a"].current = 1;  // the cache still serves the old version
  change([](Row& one) { return order(one, 2); });
  fleet.pass(5s);
  change([](Row& one) { return take_back(one, "its host did not answer"); });
  fleet.shared.keys["a"].current = 2;
  fleet.pass(2min);
  EXPECT_EQ(hooks(), 0u);
  EXPECT_EQ(row().state, RowState::kNotTried);
}

TEST_F(Agent, an_order_that_is_given_anew_while_it_is_proven_runs_one_hook) {
  fleet.shared.keys["a"].current = 1;
  change([](Row& one) { return order(one, 2); });
  fleet.pass(5s);
  set_head(3);
  change([](Row& one) { return withdraw_order(one, 3) && order(one, 3); });
  fleet.shared.keys["a"].current = 2;
  ASSERT_TRUE(fleet.until([&] { return row().state == RowState::kOk; }, 2min));
  fleet.pass(2min);
  EXPECT_EQ(hooks(), 1u);
}

TEST_F(Agent, no_hook_runs_while_the_lock_cannot_be_read) {
  change([](Row& one) { return order(one, 2); });
  fleet.shared.documents->damage(kHeadName);
  fleet.pass(2min);
  EXPECT_EQ(hooks(), 0u);
}

TEST_F(Agent, a_lost_reply_of_the_claim_runs_one_hook) {
  change([](Row& one) { return order(one, 2); });
  web.board.lose_replies = 1;
  ASSERT_TRUE(fleet.until([&] { return row().state == RowState::kOk; }, 1min));
  fleet.pass(2min);
  EXPECT_EQ(hooks(), 1u);
}

TEST_F(Agent, a_report_is_tried_until_it_is_written) {
  web.find("nginx")->takes = 5s;
  change([](Row& one) { return order(one, 2); });
  ASSERT_TRUE(fleet.until([&] { return hooks() == 1; }, 1min));
  web.board.error = Error(Code::kUnavailable, "no answer");
  fleet.pass(10min);
  EXPECT_EQ(row().state, RowState::kStarted);
  web.board.error.reset();
  ASSERT_TRUE(fleet.until([&] { return row().state == RowState::kOk; }, 1min));
  EXPECT_EQ(hooks(), 1u);
}

TEST_F(Agent, a_claim_of_an_earlier_life_is_interrupted_and_never_run) {
  Sheet there = *parse_sheet(fleet.shared.documents->find(sheet)->text);
  there.life = "an earlier life";
  there.turn = 0;
  Row& one = there.rows.at(0);
  ASSERT_TRUE(order(one, 2) && start(one, 2, 1, there.life, "2026-11-22T03:46:00Z"));
  write(sheet, to_text(there));
  ASSERT_TRUE(fleet.until([&] { return row().state == RowState::kFailed; }, 1min));
  EXPECT_TRUE(row().why.starts_with("interrupted"));
  EXPECT_TRUE(row().why.ends_with("may be running still: look before you retry"));
  fleet.pass(2min);
  EXPECT_EQ(hooks(), 0u);
}

TEST_F(Agent, the_host_is_listed_with_the_keys_of_its_consumers_and_taken_off_without) {
  fleet.pass(10s);
  const auto keys = parse_host(fleet.shared.documents->find("hosts/web-1")->text)->keys;
  EXPECT_EQ(keys, std::set<std::string>{"a"});
  const size_t writes = fleet.shared.writes.size();
  fleet.pass(1h);
  std::string more;
  for (size_t i = writes; i < fleet.shared.writes.size(); ++i) {
    more += fleet.shared.writes[i].host + " " + fleet.shared.writes[i].name + "; ";
  }
  EXPECT_EQ(more, "");  // nothing for each open
  web.consumers.clear();
  web.rotation->agent().on_consumers_changed();
  fleet.pass(10s);
  EXPECT_FALSE(fleet.shared.documents->find("hosts/web-1"));
}

TEST_F(Agent, a_host_with_more_consumers_than_a_sheet_holds_enrols_them_all) {
  SimHost& big = fleet.add("big");
  for (int i = 0; i < 120; ++i) {
    SimConsumer consumer;
    consumer.name = "unit:web@" + std::to_string(i) + ".service \\x2d";
    consumer.keys = {"a"};
    big.consumers.push_back(consumer);
  }
  big.start(false);
  ASSERT_TRUE(fleet.until(
      [&] { return fleet.shared.documents->find(sheet_name(run.run, "big", 0)).has_value(); },
      1min));
  const auto view = fleet.run(run.run);
  EXPECT_EQ(view->sheets.size(), 4u);  // and web-1's
  EXPECT_EQ(view->counts().total, 121u);
}

}  // namespace
}  // namespace keyfs::testing
