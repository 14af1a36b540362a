// A runner whose lock is lost at any moment of a run: what it sends afterwards would be fenced by
// the revisions of documents in most cases, and in all of them by its asking before each write.
#include "fs/rotation/fleet.h"
#include "support/sanitized.h"

namespace keyfs::testing {
namespace {

class ScriptedTenure final : public Tenure {
 public:
  explicit ScriptedTenure(uint64_t epoch) : epoch_(epoch) {}
  bool may = true;
  uint64_t epoch() const override { return epoch_; }
  bool may_act() const override { return may; }

 private:
  const uint64_t epoch_;
};

// A runner of its own, without a lock, and a host with consumers of the key a.
class Guards : public ::testing::Test {
 protected:
  explicit Guards(FleetOptions options = {}) : fleet(std::move(options)) {
    fleet.shared.keys["a"].current = 1;
    for (int i = 0; i < 4; ++i) {
      SimConsumer consumer;
      consumer.name = "c" + std::to_string(i);
      consumer.keys = {"a"};
      web.consumers.push_back(consumer);
    }
    web.consumers[1].fails = "exited with 1";
  }
  ~Guards() override {
    host.kill();  // the runner's tasks end before the runner
  }
  void SetUp() override {
    web.start(false);
    set_epoch(kEpoch);
    fleet.pass(10s);
  }
  void begin() {
    RunnerOptions options;
    options.host = host.name;
    options.settle = 1s;
    options.keep_runs = 1;
    options.retires = [](const std::string&) { return true; };
    runner.emplace(host.loop, host.board, host.log.log(), host.random, tenure, host, &host,
                   options);
    host.loop.spawn(work(*runner));
  }
  void set_epoch(uint64_t epoch) {
    Head head;
    head.epoch = epoch;
    head.holder = host.name;
    write(kHeadName, to_text(head));
  }
  void write(const std::string& name, std::string text) {
    const auto there = fleet.shared.documents->find(name);
    ASSERT_TRUE(
        fleet.shared.documents->write(name, std::move(text), there ? there->revision : "").done);
  }
  size_t written() const {
    return static_cast<size_t>(
        std::count_if(fleet.shared.writes.begin(), fleet.shared.writes.end(),
                      [&](const auto& one) { return one.host == host.name; }));
  }
  static Task<void> work(Runner& runner) { (void)co_await runner.work(); }

  static constexpr uint64_t kEpoch = 5;
  Fleet fleet;
  SimHost& web = fleet.add("web");
  SimHost& host = fleet.add("runner");
  ScriptedTenure tenure{kEpoch};
  std::optional<Runner> runner;
};

// --- whoever may not act any more begins no write ---

// The lock is lost right after the runner has sent its n-th question or write; nothing is sent
// that was not under way. Two runs, the second with a retry, a stop and an old run that is removed.
struct Lost {
  explicit Lost(int at) : left(at) {}
  int left;
  bool lost = false;
  std::vector<std::string> sent;  // afterwards
};

class LostLock : public Guards {
 protected:
  void watch(Lost& lost) {
    const auto step = [this, &lost] {
      if (--lost.left == 0) {
        lost.lost = true;
        tenure.may = false;
      }
    };
    host.board.on_read = [step](const std::string&) { step(); };
    host.board.on_write = [step, &lost](const std::string& name) {
      if (lost.lost) lost.sent.push_back(name);
      step();
    };
  }
};

// Two runs, with a consumer that fails, a retry, a stop that comes too late, and a run that is
// removed; or as much of that as comes before the lock is lost, and a while.
void play_runs(Fleet& fleet, const Lost& lost) {
  const auto ended = [&](const std::string& run) {
    fleet.until([&] { return lost.lost || fleet.ended(run); }, 5min);
    return !lost.lost;
  };
  const auto pass = [&](Duration time) {
    fleet.until([&] { return lost.lost; }, time);
    return !lost.lost;
  };
  const auto play = [&] {
    fleet.rotate("a", "t1");
    if (!ended(kFirst)) return;
    fleet.ask_for(Ticket::Kind::kRetry, kFirst, "again");
    if (!pass(1min)) return;
    fleet.rotate("a", "t2");
    if (!ended(run_of(2))) return;
    fleet.ask_for(Ticket::Kind::kStop, kFirst, "too-late");
    pass(30s);
  };
  play();
  fleet.pass(15s);
}

// One test for each moment would be slow to list; each has a fleet of its own.
class LostAt : public LostLock {
 public:
  void TestBody() override {}
  // How many calls the whole story has, if none is lost.
  static int calls() {
    LostAt story;
    story.SetUp();
    Lost never(1'000'000);
    story.watch(never);
    story.begin();
    play_runs(story.fleet, never);
    EXPECT_EQ(story.fleet.shared.keys["a"].rotations, 2);
    EXPECT_TRUE(story.fleet.ended(run_of(2)));
    return 1'000'000 - never.left;
  }
  static void play(int moment) {
    LostAt story;
    story.SetUp();
    Lost lost(moment);
    story.watch(lost);
    story.begin();
    play_runs(story.fleet, lost);
    EXPECT_TRUE(lost.lost) << moment;
    std::string all;
    for (const std::string& name : lost.sent) all += name + " ";
    EXPECT_EQ(all, "") << "sent after the lock was lost at call " << moment;
  }
};

TEST(LostLocks, a_runner_begins_no_write_once_it_may_not_act_whenever_that_is) {
  const int calls = LostAt::calls();
  ASSERT_GT(calls, 60);
  for (int moment = 1; moment < calls; moment += kSanitized ? 11 : 1) LostAt::play(moment);
}

TEST_F(LostLock, no_key_is_rotated_by_a_runner_that_may_not_act) {
  fleet.rotate("a", "t1");
  // The run is begun, and the lock is lost before its key is changed. The first time its epoch is
  // written there.
  int writes = 0;
  host.board.on_write = [&](const std::string& name) {
    if (name == kNowName && ++writes == 2) tenure.may = false;
  };
  begin();
  fleet.pass(2min);
  EXPECT_TRUE(fleet.peek(kFirst));
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 0);
  EXPECT_TRUE(fleet.shared.hooks.empty());
}

// --- SIGSTOP, with nobody who takes over: nothing but the lock tells it that its time is over ---

void stop_and_go_on(Duration apart) {
  int stops = 0;
  for (int nth = 1; nth < 120; nth += kSanitized ? 30 : 3) {
    Fleet fleet;
    fleet.shared.keys["a"].current = 1;
    SimHost& web = fleet.add("web", apart);
    SimHost& runner = fleet.add("runner");
    for (int i = 0; i < 4; ++i) {
      SimConsumer consumer;
      consumer.name = "c" + std::to_string(i);
      consumer.keys = {"a"};
      web.consumers.push_back(consumer);
    }
    web.start(false);
    runner.start();
    fleet.pass(30s);
    ASSERT_TRUE(runner.holds());
    // Stopped with a question under way: its answer is the first thing that it finds afterwards.
    int reads = 0;
    runner.board.on_read = [&](const std::string& name) {
      if (name != kHeadName && ++reads == nth) runner.frozen = true;
    };
    std::vector<std::string> unlawful;
    runner.board.on_write = [&](const std::string& name) {
      if (name != kHeadName && !runner.holds()) unlawful.push_back(name);
    };
    fleet.rotate("a", "ta");
    fleet.until([&] { return runner.frozen || fleet.ended(kFirst); }, 5min);
    if (!runner.frozen) break;
    ++stops;
    fleet.pass(60s);
    const size_t hooks = fleet.shared.hooks.size();
    runner.frozen = false;
    EXPECT_FALSE(runner.holds());
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }, 30min)) << nth;
    EXPECT_EQ(unlawful, std::vector<std::string>()) << "stopped at read " << nth;
    EXPECT_GE(fleet.shared.hooks.size(), hooks);
    for (const auto& [consumer, count] : fleet.hooks_by_consumer()) EXPECT_EQ(count, 1) << consumer;
    EXPECT_EQ(fleet.shared.keys["a"].rotations, 1) << nth;
  }
  EXPECT_GT(stops, kSanitized ? 1 : 5);
}

TEST(StoppedRunner, writes_nothing_before_it_has_its_lock_again) { stop_and_go_on(0s); }

TEST(StoppedRunner, writes_nothing_before_it_has_its_lock_again_with_clocks_an_hour_apart) {
  stop_and_go_on(1h);
}

// --- the epoch in the documents ---

class Epochs : public Guards {
 protected:
  // A run that is going on, begun by the holder of that epoch.
  void going_on(uint64_t of_now, uint64_t of_run) {
    RunNow now;
    now.epoch = of_now;
    now.number = 1;
    now.run = kFirst;
    write(kNowName, to_text(now));
    RunDocument run;
    run.run = kFirst;
    run.epoch = of_run;
    run.holder = "another";
    run.begun = to_rfc3339(fleet.shared.clock.wall());
    RunKey key;
    key.id = "a";
    key.token = "ta";
    run.keys.push_back(key);
    write(run_name(kFirst), to_text(run));
  }
};

TEST_F(Epochs, a_run_of_a_predecessor_is_taken_over_before_anything_is_done) {
  going_on(kEpoch - 1, kEpoch - 2);
  std::vector<std::string> order;
  host.board.on_write = [&](const std::string& name) {
    if (fleet.shared.keys["a"].rotations == 0) order.push_back(name);
  };
  begin();
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }, 5min));
  EXPECT_EQ(order, (std::vector<std::string>{kNowName, run_name(kFirst)}));
  EXPECT_EQ(fleet.peek(kFirst)->epoch, kEpoch);
  EXPECT_EQ(fleet.peek(kFirst)->takeovers, std::vector<std::string>{"another -> runner"});
}

TEST_F(Epochs, a_runner_leaves_a_run_alone_that_a_later_epoch_has_taken) {
  going_on(kEpoch - 1, kEpoch + 1);
  begin();
  fleet.pass(2min);
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 0);
  EXPECT_TRUE(fleet.shared.hooks.empty());
  EXPECT_EQ(fleet.peek(kFirst)->epoch, kEpoch + 1);
  EXPECT_EQ(fleet.peek(kFirst)->holder, "another");
}

TEST_F(Epochs, a_runner_begins_nothing_where_a_later_epoch_says_what_is_going_on) {
  going_on(kEpoch + 1, kEpoch - 1);
  begin();
  fleet.pass(2min);
  EXPECT_EQ(written(), 0u);
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 0);
}

// The successor has written its epoch into the run while a step of the predecessor was under way.
TEST_F(Epochs, a_run_that_is_taken_over_gets_nothing_more_from_its_predecessor) {
  begin();
  fleet.rotate("a", "t1");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 1; }, 3min));
  RunDocument taken = *fleet.peek(kFirst);
  taken.epoch = kEpoch + 1;
  taken.holder = "another";
  write(run_name(kFirst), to_text(taken));
  set_epoch(kEpoch + 1);
  const std::string text = fleet.shared.documents->find(run_name(kFirst))->text;
  fleet.pass(5min);
  EXPECT_EQ(fleet.shared.documents->find(run_name(kFirst))->text, text);
  // What it has ordered meanwhile is refused by the host: it is not of the lock's epoch.
  EXPECT_EQ(fleet.shared.hooks.size(), 1u);
}

TEST_F(Epochs, an_order_of_an_earlier_epoch_is_withdrawn_and_given_anew) {
  begin();
  fleet.rotate("a", "t1");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 1; }, 3min));
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.running == 0; }, 1min));
  host.kill();
  host.frozen = true;
  // An order that its predecessor gave, and that takes effect late.
  const std::string name = sheet_name(kFirst, "web", 0);
  Sheet sheet = *parse_sheet(fleet.shared.documents->find(name)->text);
  std::string late;
  for (Row& row : sheet.rows) {
    if (row.state != RowState::kWaiting || !late.empty()) continue;
    ASSERT_TRUE(order(row, kEpoch - 1));
    late = row.consumer;
  }
  ASSERT_FALSE(late.empty());
  write(name, to_text(sheet));
  fleet.pass(2min);
  const size_t hooks = fleet.shared.hooks.size();
  for (const Hook& hook : fleet.shared.hooks) EXPECT_NE(hook.consumer, late);
  EXPECT_LE(hooks, 2u);
  SimHost& next = fleet.add("next");
  next.start();
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  for (const auto& [consumer, count] : fleet.hooks_by_consumer()) EXPECT_EQ(count, 1) << consumer;
  EXPECT_EQ(fleet.shared.hooks.size(), 4u);
}

}  // namespace
}  // namespace keyfs::testing
