// Documents of the board that are damaged, and a board that is away for long.
#include "fs/rotation/fleet.h"
#include "fs/rotation/trouble.h"
#include "fs/rotation/watched_board.h"
#include "support/fake_time.h"

namespace keyfs::testing {
namespace {

constexpr const char* kHuge = R"({"epoch":18446744073709551615,"number":1,"run":""})";

class BoardDamage : public ::testing::Test {
 protected:
  void SetUp() override {
    SimConsumer consumer;
    consumer.name = "app";
    consumer.keys = {"a"};
    web.consumers.push_back(consumer);
    web.start();
    fleet.pass(30s);
  }
  void write(const std::string& name, std::string text) {
    const auto there = fleet.shared.documents->find(name);
    ASSERT_TRUE(
        fleet.shared.documents->write(name, std::move(text), there ? there->revision : "").done);
  }
  void remove(const std::string& name) {
    const auto there = fleet.shared.documents->find(name);
    ASSERT_TRUE(there);
    ASSERT_TRUE(fleet.shared.documents->remove(name, there->revision).done);
  }
  void rotate_in(const char* run, const std::string& token) {
    fleet.rotate("a", token);
    ASSERT_TRUE(fleet.until([&] { return fleet.peek(run) && fleet.ended(run); }, 10min)) << run;
    EXPECT_EQ(fleet.peek(run)->end, RunDocument::End::kComplete);
  }
  // What the holder knows is read anew.
  void start_anew() {
    last = &fleet.restart(*last);
    ASSERT_TRUE(fleet.until([&] { return last->holds(); }, 10min));
  }

  Fleet fleet;
  SimHost& web = fleet.add("web");
  SimHost* last = &web;
};

TEST_F(BoardDamage, the_holder_writes_run_now_anew_after_the_last_run) {
  rotate_in(kFirst, "t1");
  for (const char* text : {"", "no JSON", "[]", kHuge}) {
    write(kNowName, text);
    start_anew();
    ASSERT_TRUE(fleet.until(
        [&] {
          const auto now = fleet.shared.documents->find(kNowName);
          const auto read = parse_run_now(now->text);
          return read && read->number == 1 && read->run.empty();
        },
        1min))
        << text;
  }
  rotate_in(kSecond, "t2");
  EXPECT_EQ(fleet.shared.hooks.size(), 2u);
}

TEST_F(BoardDamage, a_run_that_was_going_on_is_gone_on_with) {
  fleet.rotate("a", "t1");
  ASSERT_TRUE(fleet.until([&] { return fleet.running() == kFirst; }));
  web.kill();
  web.frozen = true;
  write(kNowName, "no JSON");
  SimHost& again = fleet.add("web-2");
  again.start();
  ASSERT_TRUE(fleet.until(
      [&] {
        const auto run = fleet.peek(kFirst);
        return run && run->state == RunDocument::State::kEnded;
      },
      30min));
  ASSERT_TRUE(fleet.until(
      [&] { return parse_run_now(fleet.shared.documents->find(kNowName)->text).has_value(); }));
  EXPECT_EQ(fleet.runs().size(), 1u);
}

TEST_F(BoardDamage, sheets_without_a_run_are_not_taken_for_those_of_the_next_run) {
  rotate_in(kFirst, "t1");
  remove(run_name(kFirst));
  write(kNowName, "no JSON");
  start_anew();
  rotate_in(kSecond, "t2");
  EXPECT_EQ(fleet.shared.hooks.size(), 2u);
}

TEST_F(BoardDamage, a_run_now_that_somebody_removed_begins_no_old_run_again) {
  rotate_in(kFirst, "t1");
  remove(kNowName);
  start_anew();
  rotate_in(kSecond, "t2");
  EXPECT_EQ(fleet.shared.hooks.size(), 2u);
}

TEST_F(BoardDamage, run_head_waits_for_somebody_to_remove_it_and_epochs_go_on) {
  rotate_in(kFirst, "t1");
  const uint64_t before = parse_run_now(fleet.shared.documents->find(kNowName)->text)->epoch;
  write(kHeadName, "no JSON");
  fleet.pass(2min);
  EXPECT_FALSE(web.holds());
  EXPECT_EQ(fleet.shared.documents->find(kHeadName)->text, "no JSON");
  EXPECT_TRUE(web.log.has("run/head is damaged"));
  remove(kHeadName);
  ASSERT_TRUE(fleet.until([&] { return web.holds(); }, 1min));
  EXPECT_EQ(parse_head(fleet.shared.documents->find(kHeadName)->text)->epoch, before + 1);
  rotate_in(kSecond, "t2");
}

TEST_F(BoardDamage, of_a_run_that_has_ended_holds_up_no_other_and_the_holder_names_it) {
  rotate_in(kFirst, "t1");
  fleet.pass(2min);  // all have seen that it has ended
  write(run_name(kFirst), "no JSON");
  rotate_in(kSecond, "t2");
  EXPECT_TRUE(web.log.has("runs/run-00000001"));
  fleet.pass(2min);
  write(run_name(kSecond), "no JSON");
  fleet.pass(3min);
  EXPECT_FALSE(web.log.has("cannot take part in a rotation"));
  // Nor if the board itself cannot read it, or somebody asks for it again.
  fleet.shared.documents->damage(run_name(kFirst));
  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "again");
  fleet.pass(10s);
  EXPECT_EQ(web.log.count("its report is lost"), 1u);
  rotate_in("run-00000003", "t3");
  EXPECT_EQ(web.log.count("its report is lost"), 3u);
  EXPECT_EQ(fleet.shared.hooks.size(), 3u);
}

TEST(WatchedBoardDamage, of_a_run_that_has_ended_is_no_reason_to_say_that_rotations_wait) {
  FakeTimeLoop time;
  const auto documents = std::make_shared<MemoryDocuments>();
  MemoryBoard real{time.loop, documents};
  WatchedBoard board{time.loop, real};
  const auto look = [&](const std::string& name) {
    (void)time.loop.run_task(board.get(name, time.loop.now() + 10s));
    return board.health().damaged.size();
  };
  const auto write = [&](const std::string& name, const std::string& text) {
    const auto there = documents->find(name);
    documents->write(name, text, there ? there->revision : "");
  };
  // As a host does that takes part: it reads the run that goes on.
  RunDocument run;
  run.run = kFirst;
  write(run_name(kFirst), "no JSON");
  EXPECT_EQ(look(run_name(kFirst)), 1u);
  write(run_name(kFirst), to_text(run));
  EXPECT_EQ(look(run_name(kFirst)), 0u);
  write(run_name(kFirst), "no JSON");
  EXPECT_EQ(look(run_name(kFirst)), 1u);
  run.run = kSecond;
  write(run_name(kSecond), to_text(run));
  EXPECT_EQ(look(run_name(kSecond)), 0u);  // the first one is over
  EXPECT_EQ(look(run_name(kFirst)), 0u);
  write(run_name(kSecond), "no JSON");
  EXPECT_EQ(look(run_name(kSecond)), 1u);
  EXPECT_EQ(look(run_name("run-00000003")), 1u);
  // As the holder does.
  RunNow now;
  now.number = 2;
  write(kNowName, to_text(now));
  EXPECT_EQ(look(kNowName), 0u);
  EXPECT_EQ(look(run_name(kSecond)), 0u);
  now.run = kFirst;  // which is done again
  const auto there = documents->find(kNowName);
  const auto written = time.loop.run_task(
      board.replace(kNowName, to_text(now), there->revision, time.loop.now() + 10s));
  ASSERT_TRUE(written && written->done);
  EXPECT_EQ(look(run_name(kFirst)), 1u);
  EXPECT_EQ(look(run_name(kSecond)), 1u);
}

TEST(WatchedBoardDamage, is_told_until_it_is_repaired) {
  FakeTimeLoop time;
  const auto documents = std::make_shared<MemoryDocuments>();
  MemoryBoard real{time.loop, documents};
  WatchedBoard board{time.loop, real};
  const auto look = [&](const char* name) {
    (void)time.loop.run_task(board.get(name, time.loop.now() + 10s));
  };
  documents->write(kNowName, kHuge, "");
  documents->write(kHeadName, "no JSON", "");
  documents->write("pulse/0", "no JSON", "");
  for (const char* name : {kNowName, kHeadName, "pulse/0"}) look(name);
  EXPECT_EQ(board.health().state, BoardHealth::State::kThere);
  EXPECT_EQ(board.health().damaged.size(), 2u);
  EXPECT_EQ(board.health().errors, 2u);
  // By the holder, and by hand.
  const auto now = documents->find(kNowName);
  const auto written = time.loop.run_task(
      board.replace(kNowName, to_text(RunNow()), now->revision, time.loop.now() + 10s));
  ASSERT_TRUE(written && written->done);
  EXPECT_EQ(board.health().damaged.size(), 1u);
  documents->remove(kHeadName, documents->find(kHeadName)->revision);
  look(kHeadName);
  EXPECT_TRUE(board.health().damaged.empty());
}

TEST(TroubleTest, is_told_when_it_begins_now_and_then_and_when_it_is_over) {
  FakeTimeLoop time;
  LogCapture log;
  Trouble trouble(time.loop, log.log(), "it fails", "it goes well again");
  const Error silent(Code::kUnavailable, "no answer");
  const auto times = [&](const std::string& text) { return log.count(text); };
  for (int i = 0; i < 60; ++i) {
    trouble.is(silent);
    time.clock.advance(2s);
  }
  EXPECT_EQ(times("it fails"), 1u);
  trouble.is(Error(Code::kCorrupt, "damaged"));  // another kind
  EXPECT_EQ(times("it fails"), 2u);
  time.clock.advance(Trouble::kTellEvery);
  trouble.is(silent);
  EXPECT_EQ(times("it fails"), 3u);
  trouble.over();
  trouble.over();
  EXPECT_EQ(times("it goes well again"), 1u);
  trouble.is(silent);  // it comes and goes
  trouble.over();
  EXPECT_EQ(times("it fails"), 3u);
  EXPECT_EQ(times("it goes well again"), 1u);
}

TEST(TroubleTest, a_host_whose_board_is_away_for_long_says_so_a_few_times) {
  Fleet fleet;
  SimHost& web = fleet.add("web");
  SimConsumer consumer;
  consumer.name = "app";
  consumer.keys = {"a"};
  consumer.takes = 10s;
  web.consumers.push_back(consumer);
  web.start();
  fleet.pass(30s);
  fleet.rotate("a", "t1");
  ASSERT_TRUE(fleet.until([&] { return !fleet.shared.hooks.empty(); }));
  const size_t before = web.log.count("level=warn");
  web.board.error = Error(Code::kUnavailable, "no answer");
  fleet.pass(10min);
  EXPECT_LE(web.log.count("level=warn") - before, 12u);
  web.board.error.reset();
  EXPECT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
}

}  // namespace
}  // namespace keyfs::testing
