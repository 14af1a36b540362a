#include <random>

#include "fs/rotation/fleet.h"
#include "support/sanitized.h"

namespace keyfs::testing {
namespace {

// Hosts with consumers that run no rotations, and hosts without that do.
struct Parts {
  std::vector<SimHost*> web;
  std::vector<SimHost*> runners;
};

Parts make(Fleet& fleet, int web, int runners, int consumers, Duration apart = 0s) {
  Parts parts;
  for (int i = 0; i < web; ++i) {
    parts.web.push_back(&fleet.add("web-" + std::to_string(i), i * apart));
  }
  for (int i = 0; i < runners; ++i) {
    parts.runners.push_back(&fleet.add("runner-" + std::to_string(i), -i * apart));
  }
  for (int i = 0; i < consumers; ++i) {
    SimConsumer consumer;
    consumer.name = "c" + std::to_string(i);
    consumer.keys = {"a"};
    parts.web[static_cast<size_t>(i % web)]->consumers.push_back(consumer);
  }
  for (SimHost* host : parts.web) host->start(false);
  for (SimHost* host : parts.runners) host->start();
  return parts;
}

void expect_each_told_once(const Fleet& fleet) {
  for (const auto& [consumer, hooks] : fleet.hooks_by_consumer()) EXPECT_EQ(hooks, 1) << consumer;
}

TEST(Takeover, another_host_goes_on_within_40_s_when_the_runner_is_killed) {
  constexpr int kMany = kSanitized ? 30 : 65;
  Fleet fleet;
  const Parts parts = make(fleet, 4, 3, kMany);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == kMany / 2 - 2; }));
  SimHost* runner = fleet.holder();
  ASSERT_NE(runner, nullptr);
  runner->kill();
  runner->frozen = true;
  fleet.until([&] { return fleet.shared.running == 0; });
  const size_t before = fleet.shared.hooks.size();
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() > before; }, 40s));
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.shared.hooks.size(), size_t{kMany});
  expect_each_told_once(fleet);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  fleet.pass(1s);
  EXPECT_EQ(fleet.shared.notices,
            (std::vector<std::string>{"taken over run-00000001", "ended run-00000001 complete"}));
}

// Hosts with consumers that all run rotations too; the runner is killed once so many were told, while
// it runs one of its own hooks or while it does not.
struct KilledRunner {
  KilledRunner(Fleet& its, int hosts, size_t consumers, Duration takes) : fleet(its) {
    for (int i = 0; i < hosts; ++i) all.push_back(&fleet.add("web-" + std::to_string(i)));
    for (size_t i = 0; i < consumers; ++i) {
      SimConsumer consumer;
      consumer.name = "c" + std::to_string(i);
      consumer.keys = {"a"};
      consumer.takes = takes;
      all[i % all.size()]->consumers.push_back(consumer);
    }
    for (SimHost* host : all) host->start();
    fleet.pass(30s);
    runner = fleet.holder();
    fleet.rotate("a", "ta");
  }
  void kill(size_t told, bool in_its_hook) {
    const auto& hooks = fleet.shared.hooks;
    const auto runs_its_hook = [&] {
      return std::any_of(hooks.begin(), hooks.end(), [this](const Hook& hook) {
        return hook.host == runner->name && !hook.ended;
      });
    };
    // Also while one is claimed and not begun, or has ended and is not reported.
    const auto has_claimed = [&] {
      const auto there = fleet.shared.documents->find(sheet_name(kFirst, runner->name, 0));
      if (!there) return false;
      const Sheet sheet = *parse_sheet(there->text);
      return std::any_of(sheet.rows.begin(), sheet.rows.end(),
                         [](const Row& row) { return row.state == RowState::kStarted; });
    };
    ASSERT_TRUE(fleet.until(
        [&] { return hooks.size() >= told && (in_its_hook ? runs_its_hook() : !has_claimed()); }));
    before = hooks.size();
    at = fleet.shared.clock.now();
    runner->kill();
    runner->frozen = true;
  }
  // Of the hosts that are left: the longest time in which none of their consumers was told.
  Duration longest_pause() const {
    Duration longest{};
    TimePoint last = at;
    for (size_t i = before; i < fleet.shared.hooks.size(); ++i) {
      longest = std::max<Duration>(longest, fleet.shared.hooks[i].begun - last);
      last = fleet.shared.hooks[i].begun;
    }
    return longest;
  }

  Fleet& fleet;
  std::vector<SimHost*> all;
  SimHost* runner = nullptr;
  size_t before = 0;  // hooks
  TimePoint at{};
};

TEST(Takeover, consumers_of_the_killed_runners_own_host_hold_up_nobody) {
  for (const unsigned parallel : {1u, 4u}) {
    FleetOptions options;
    options.rotation.runner.parallel = parallel;
    Fleet fleet(options, parallel);
    KilledRunner killed(fleet, 4, 40, 100ms);
    ASSERT_NE(killed.runner, nullptr);
    killed.kill(12, false);
    const std::string dead = killed.runner->name;
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
    EXPECT_LE(killed.longest_pause(), 40s) << parallel;
    expect_each_told_once(fleet);
    // All but those of that host, which were tried last, and in vain.
    size_t of_the_dead = 0;
    for (const Hook& hook : fleet.shared.hooks) of_the_dead += hook.host == dead ? 1 : 0;
    EXPECT_EQ(fleet.shared.hooks.size(), 30 + of_the_dead) << parallel;
    const auto run = fleet.peek(kFirst);
    EXPECT_EQ(run->counts.not_tried, 10 - of_the_dead) << parallel;
    EXPECT_EQ(run->counts.ok, 30 + of_the_dead) << parallel;
    EXPECT_EQ(run->end, RunDocument::End::kInPart);
  }
}

TEST(Takeover,
     a_hook_that_the_killed_runner_ran_itself_holds_up_others_no_longer_than_its_time_out) {
  Fleet fleet;
  KilledRunner killed(fleet, 3, 12, 3s);
  ASSERT_NE(killed.runner, nullptr);
  killed.kill(3, true);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_LE(killed.longest_pause(), 40s + SimConsumer().timeout);
  expect_each_told_once(fleet);
  EXPECT_EQ(fleet.peek(kFirst)->counts.unknown, 1u);
  EXPECT_GE(fleet.peek(kFirst)->counts.ok, 8u);
}

TEST(Takeover, a_killed_runner_that_is_back_has_its_consumers_told_after_all) {
  Fleet fleet;
  KilledRunner killed(fleet, 3, 24, 1s);
  ASSERT_NE(killed.runner, nullptr);
  killed.kill(6, false);
  const std::string name = killed.runner->name;
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() > killed.before; }, 40s));
  fleet.restart(*killed.runner);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.shared.hooks.size(), 24u);
  expect_each_told_once(fleet);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_LE(killed.longest_pause(), 40s);
  // Once one of its consumers was told it is alive, so the rest is told in turn; the first came last.
  const auto& hooks = fleet.shared.hooks;
  const auto first = std::find_if(hooks.begin() + static_cast<std::ptrdiff_t>(killed.before),
                                  hooks.end(), [&](const Hook& hook) { return hook.host == name; });
  for (auto hook = first; hook != hooks.end(); ++hook) EXPECT_EQ(hook->host, name);
}

// The runner is stopped at many different moments of a run, and continued after 60 s.
void stop_and_continue(Duration apart) {
  for (int moment = 0; moment < 25; moment += kSanitized ? 6 : 1) {
    Fleet fleet;
    const Parts parts = make(fleet, 2, 2, 8, apart);
    fleet.pass(30s);
    int both = 0;
    fleet.each_turn = [&] {
      if (parts.runners[0]->holds() && parts.runners[1]->holds()) ++both;
    };
    fleet.rotate("a", "ta");
    fleet.pass(5s + moment * 317ms);
    SimHost* runner = fleet.holder();
    ASSERT_NE(runner, nullptr);
    runner->frozen = true;
    fleet.pass(60s);
    const size_t writes = fleet.shared.writes.size();
    runner->frozen = false;
    fleet.pass(60s);
    for (size_t i = writes; i < fleet.shared.writes.size(); ++i) {
      EXPECT_NE(fleet.shared.writes[i].host, runner->name)
          << fleet.shared.writes[i].name << " at moment " << moment;
    }
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); })) << moment;
    EXPECT_EQ(fleet.shared.hooks.size(), 8u) << moment;
    expect_each_told_once(fleet);
    EXPECT_EQ(fleet.shared.most_running, 1) << moment;
    EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete) << moment;
    EXPECT_EQ(fleet.shared.keys["a"].rotations, 1) << moment;
    EXPECT_EQ(both, 0) << moment;
    EXPECT_EQ(fleet.runs().size(), 1u) << moment;
  }
}

TEST(Takeover, a_runner_that_was_stopped_writes_nothing_when_it_is_continued) {
  stop_and_continue(0s);
}

TEST(Takeover, the_same_with_clocks_an_hour_apart) { stop_and_continue(1h); }

// Stopped while a write is under way, which then comes late.
TEST(Takeover, a_write_that_a_stopped_runner_had_under_way_does_no_harm) {
  for (const char* prefix : {"rows/", "runs/", "run/now", "run/head", "tickets/", "pulse"}) {
    for (int nth = 1; nth <= (kSanitized ? 1 : 4); ++nth) {
      Fleet fleet;
      const Parts parts = make(fleet, 2, 2, 6);
      fleet.pass(30s);
      SimHost* runner = fleet.holder();
      ASSERT_NE(runner, nullptr);
      fleet.rotate("a", "ta");
      int writes = 0;
      runner->board.on_write = [&](const std::string& name) {
        if (name.starts_with(prefix) && ++writes == nth) runner->frozen = true;
      };
      fleet.until([&] { return runner->frozen || fleet.ended(kFirst); });
      fleet.pass(45s);
      runner->frozen = false;
      ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); })) << prefix << nth;
      fleet.pass(3min);
      EXPECT_EQ(fleet.shared.hooks.size(), 6u) << prefix << nth;
      expect_each_told_once(fleet);
      EXPECT_EQ(fleet.shared.most_running, 1) << prefix << nth;
      EXPECT_EQ(fleet.shared.keys["a"].rotations, 1) << prefix << nth;
      EXPECT_EQ(fleet.runs().size(), 1u) << prefix << nth;
      EXPECT_FALSE(fleet.shared.documents->find("tickets/ta")) << prefix << nth;
    }
  }
}

TEST(Takeover, a_runner_that_is_stopped_for_a_short_time_goes_on_itself) {
  Fleet fleet;
  const Parts parts = make(fleet, 2, 2, 8);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 3; }));
  SimHost* runner = fleet.holder();
  runner->frozen = true;
  fleet.pass(10s);
  runner->frozen = false;
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_TRUE(fleet.peek(kFirst)->takeovers.empty());
  expect_each_told_once(fleet);
  EXPECT_EQ(fleet.shared.hooks.size(), 8u);
}

TEST(Takeover, ten_daemons_started_at_once_with_a_ticket_make_one_run) {
  for (uint64_t time = 0; time < (kSanitized ? 3 : 50); ++time) {
    Fleet fleet({}, 100 * time);
    fleet.rotate("a", "ta");
    std::vector<SimHost*> hosts;
    for (int i = 0; i < 10; ++i) {
      SimHost& host = fleet.add("web-" + std::to_string(i));
      const uint64_t slow = 200 + (time * 37 + 91 * static_cast<uint64_t>(i)) % 900;
      host.board.slow = std::chrono::microseconds(slow);
      SimConsumer consumer;
      consumer.name = "c";
      consumer.keys = {"a"};
      host.consumers.push_back(consumer);
      hosts.push_back(&host);
    }
    std::set<std::string> holders;
    fleet.each_turn = [&] {
      for (SimHost* host : hosts) {
        if (host->holds()) holders.insert(host->name);
      }
    };
    for (SimHost* host : hosts) host->start();
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
    fleet.pass(1min);
    EXPECT_EQ(holders.size(), 1u);
    EXPECT_EQ(fleet.runs().size(), 1u);
    EXPECT_EQ(fleet.shared.hooks.size(), 10u);
    EXPECT_EQ(fleet.shared.keys["a"].rotations, 1);
  }
}

TEST(Takeover, a_daemon_killed_during_a_hook_has_it_reported_as_interrupted) {
  Fleet fleet;
  const Parts parts = make(fleet, 2, 1, 6);
  SimHost& web = *parts.web[1];
  for (SimConsumer& consumer : web.consumers) consumer.takes = 5s;
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until(
      [&] { return !fleet.shared.hooks.empty() && fleet.shared.hooks.back().host == web.name; }));
  const std::string victim = fleet.shared.hooks.back().consumer;
  fleet.pass(1s);
  SimHost& again = fleet.restart(web);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  expect_each_told_once(fleet);
  EXPECT_EQ(fleet.shared.hooks.size(), 6u);
  const auto view = fleet.run(kFirst);
  EXPECT_EQ(view->run.counts.ok, 5u);
  EXPECT_EQ(view->run.counts.failed, 1u);
  for (const auto& [name, seen] : view->sheets) {
    if (const Row* row = seen.sheet.find(victim)) {
      EXPECT_EQ(row->state, RowState::kFailed);
      EXPECT_TRUE(row->why.starts_with("interrupted")) << row->why;
    }
  }
  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "again");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 7; }));
  EXPECT_EQ(fleet.shared.hooks.back().consumer, victim);
  EXPECT_EQ(fleet.shared.hooks.back().host, again.name);
}

TEST(Takeover, a_host_stopped_before_it_claims_is_left_out_and_runs_nothing_later) {
  Fleet fleet;
  const Parts parts = make(fleet, 3, 1, 30);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 6; }));
  fleet.until([&] { return fleet.shared.running == 0; });
  parts.web[1]->frozen = true;
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  const auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->counts.ok + run->counts.not_tried, 30u);
  EXPECT_GT(run->counts.not_tried, 0u);
  const size_t hooks = fleet.shared.hooks.size();
  parts.web[1]->frozen = false;
  fleet.pass(5min);
  EXPECT_EQ(fleet.shared.hooks.size(), hooks);
  expect_each_told_once(fleet);
}

TEST(Takeover, a_host_that_is_gone_during_a_hook_leaves_it_unknown) {
  Fleet fleet;
  const Parts parts = make(fleet, 2, 1, 4);
  for (SimConsumer& consumer : parts.web[1]->consumers) consumer.takes = 5s;
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until(
      [&] { return !fleet.shared.hooks.empty() && fleet.shared.hooks.back().host == "web-1"; }));
  fleet.pass(1s);
  parts.web[1]->frozen = true;
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->counts.unknown, 1u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kInPart);
  // It comes back, and knows after all.
  parts.web[1]->frozen = false;
  fleet.pass(2min);
  EXPECT_EQ(fleet.run(kFirst)->counts().unknown, 0u);
  expect_each_told_once(fleet);
}

TEST(Takeover, a_board_that_is_out_stops_the_runner_and_it_goes_on_afterwards) {
  Fleet fleet;
  const Parts parts = make(fleet, 2, 2, 12);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 4; }));
  for (SimHost* host : fleet.all()) {
    host->board.error = Error(Code::kUnavailable, "no answer");
  }
  fleet.pass(90s);
  EXPECT_EQ(fleet.holder(), nullptr);
  for (SimHost* host : fleet.all()) host->board.error.reset();
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }, 10min));
  EXPECT_EQ(fleet.shared.hooks.size(), 12u);
  expect_each_told_once(fleet);
}

// Hosts are killed, stopped and cut off at random moments, and replies are lost.
TEST(Takeover, whatever_befalls_hosts_no_consumer_is_told_twice_and_the_run_ends) {
  for (unsigned seed = 0; seed < (kSanitized ? 5 : 40); ++seed) {
    std::mt19937 dice(seed);
    const auto below = [&](unsigned most) { return static_cast<unsigned>(dice() % most); };
    Fleet fleet({}, seed * 100);
    Parts parts = make(fleet, 3, 3, 18, std::chrono::seconds(below(2) * 3600));
    fleet.pass(20s);
    int both = 0;
    fleet.each_turn = [&] {
      int holders = 0;
      for (SimHost* host : fleet.all()) holders += host->holds() ? 1 : 0;
      if (holders > 1) ++both;
    };
    fleet.rotate("a", "ta");
    for (int blow = 0; blow < 12; ++blow) {
      fleet.pass(std::chrono::milliseconds(below(15000)));
      auto& group = below(2) == 0 ? parts.web : parts.runners;
      SimHost*& victim = group[below(3)];
      switch (below(4)) {
        case 0:
          if (!victim->frozen) {
            const bool web = &group == &parts.web;
            auto consumers = victim->consumers;
            victim->kill();
            victim->frozen = true;
            SimHost& fresh = fleet.add(victim->name);
            fresh.consumers = std::move(consumers);
            fresh.start(!web);
            victim = &fresh;
          }
          break;
        case 1:
          victim->frozen = true;
          break;
        case 2:
          victim->board.lose_replies = 1 + static_cast<int>(below(3));
          break;
        case 3:
          for (SimHost* host : parts.web) host->frozen = false;
          for (SimHost* host : parts.runners) host->frozen = false;
          break;
      }
    }
    for (SimHost* host : parts.web) host->frozen = false;
    for (SimHost* host : parts.runners) host->frozen = false;
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); })) << seed;
    fleet.pass(3min);
    for (const auto& [consumer, hooks] : fleet.hooks_by_consumer()) {
      EXPECT_EQ(hooks, 1) << consumer << ", seed " << seed;
    }
    EXPECT_EQ(both, 0) << seed;
    EXPECT_EQ(fleet.shared.keys["a"].rotations, 1) << seed;
    EXPECT_EQ(fleet.runs().size(), 1u) << seed;
    const RunCounts counts = fleet.run(kFirst)->counts();
    EXPECT_EQ(counts.waiting + counts.active, 0u) << seed;
  }
}

}  // namespace
}  // namespace keyfs::testing
