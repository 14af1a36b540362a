#include "fs/rotation/run_fixture.h"
#include "support/sanitized.h"

namespace keyfs::testing {
namespace {

TEST(Run, six_keys_of_130_consumers_are_one_run_with_130_hooks) {
  constexpr size_t kMany = kSanitized ? 40 : 130;
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 4);
  const std::vector<std::string> keys = {"k0", "k1", "k2", "k3", "k4", "k5"};
  spread(hosts, kMany, keys);
  start_all(hosts);
  fleet.pass(30s);
  for (const std::string& key : keys) {
    fleet.rotate(key, "t-" + key);
    fleet.pass(1s);
  }
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.pass(3min);
  const auto runs = fleet.runs();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].end, RunDocument::End::kComplete);
  EXPECT_TRUE(runs[0].whole());
  EXPECT_EQ(runs[0].counts.ok, kMany);
  EXPECT_EQ(fleet.shared.hooks.size(), kMany);
  for (const auto& [consumer, hooks] : fleet.hooks_by_consumer()) EXPECT_EQ(hooks, 1) << consumer;
  for (const Hook& hook : fleet.shared.hooks) EXPECT_EQ(hook.keys.size(), 6u);
  EXPECT_EQ(fleet.shared.most_running, 1);
  for (const auto& [id, key] : fleet.shared.keys) EXPECT_EQ(key.rotations, 1) << id;
  EXPECT_EQ(fleet.shared.notices, std::vector<std::string>{"ended run-00000001 complete"});
}

TEST(Run, a_change_that_comes_during_a_run_waits_for_the_next) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 20, {"a", "b"});
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 5; }));
  std::set<std::string> overlapping;
  fleet.each_turn = [&] {
    int going_on = 0;
    for (const char* name : {kFirst, kSecond}) {
      const auto run = fleet.peek(name);
      if (run && run->state != RunDocument::State::kEnded) ++going_on;
    }
    if (going_on > 1) overlapping.insert(to_rfc3339(fleet.shared.clock.wall(), true));
  };
  fleet.rotate("b", "tb");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kSecond); }));
  EXPECT_TRUE(overlapping.empty());
  EXPECT_EQ(fleet.runs().size(), 2u);
  EXPECT_EQ(fleet.shared.hooks.size(), 40u);
  EXPECT_EQ(fleet.shared.most_running, 1);
}

TEST(Run, a_consumer_that_fails_is_skipped_named_and_done_again_alone) {
  constexpr size_t kMany = kSanitized ? 53 : 65;
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, kMany, {"a"});
  SimConsumer& bad = hosts[50 % 3]->consumers[50 / 3];
  ASSERT_EQ(bad.name, "c50");
  bad.fails = "exited with 1";
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  auto view = fleet.run(kFirst);
  EXPECT_EQ(view->run.end, RunDocument::End::kInPart);
  EXPECT_EQ(view->run.counts.ok, kMany - 1);
  EXPECT_EQ(view->run.counts.failed, 1u);
  std::string why;
  for (const auto& [name, seen] : view->sheets) {
    for (const Row& row : seen.sheet.rows) {
      if (row.state == RowState::kFailed) why += seen.sheet.host + "/" + row.consumer + row.why;
    }
  }
  EXPECT_EQ(why, "web-2/c50exited with 1");

  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "again");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == kMany + 1; }, 5min));
  EXPECT_EQ(fleet.shared.hooks.back().consumer, "c50");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.run(kFirst)->run.counts.failed, 1u);
  EXPECT_TRUE(fleet.until([&] { return fleet.shared.notices.size() == 2; }, 1min));

  EXPECT_EQ(fleet.mark(kFirst, "c50"), 1u);
  EXPECT_EQ(fleet.run(kFirst)->run.end, RunDocument::End::kComplete);
  EXPECT_TRUE(fleet.run(kFirst)->run.whole());
  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "once-more");
  fleet.pass(5min);
  EXPECT_EQ(fleet.shared.hooks.size(), kMany + 1);
  EXPECT_EQ(fleet.run(kFirst)->run.end, RunDocument::End::kComplete);
}

TEST(Run, a_webhook_that_hangs_delays_no_run) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a", "b"});
  fleet.shared.message_takes = 20min;
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->notice, RunDocument::Notice::kSending);
  fleet.rotate("b", "tb");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kSecond); }, 3min));
  EXPECT_TRUE(fleet.shared.notices.empty());
  fleet.pass(1h);
  EXPECT_EQ(fleet.shared.notices, (std::vector<std::string>{"ended run-00000001 complete",
                                                            "ended run-00000002 complete"}));
  EXPECT_EQ(fleet.peek(kFirst)->notice, RunDocument::Notice::kSent);
  EXPECT_EQ(fleet.peek(kSecond)->notice, RunDocument::Notice::kSent);
}

TEST(Run, a_retry_that_succeeds_makes_the_run_complete) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 6, {"a"});
  hosts[0]->consumers[1].fails = "no";
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  hosts[0]->consumers[1].fails.reset();
  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "again");
  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "again");  // idempotent
  ASSERT_TRUE(fleet.until([&] {
    const auto run = fleet.peek(kFirst);
    return run->attempt == 2 && fleet.ended(kFirst);
  }));
  fleet.pass(5min);
  EXPECT_EQ(fleet.shared.hooks.size(), 7u);
  EXPECT_EQ(fleet.peek(kFirst)->attempt, 2u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
}

TEST(Run, many_failures_in_a_row_stop_it_and_the_rest_is_not_tried) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 65, {"a"});
  for (SimHost* host : hosts) {
    for (SimConsumer& consumer : host->consumers) consumer.fails = "exited with 1";
  }
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  const auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->end, RunDocument::End::kStopped);
  EXPECT_EQ(run->counts.failed, 5u);
  EXPECT_EQ(run->counts.not_tried, 60u);
  EXPECT_EQ(fleet.shared.hooks.size(), 5u);
  fleet.pass(1s);
  EXPECT_EQ(fleet.shared.notices,
            (std::vector<std::string>{"stopped run-00000001", "ended run-00000001 stopped"}));
}

TEST(Run, it_is_stopped_by_hand_and_goes_on_by_retry) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 30, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 4; }));
  fleet.ask_for(Ticket::Kind::kStop, kFirst, "halt");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }, 2min));
  const size_t told = fleet.shared.hooks.size();
  EXPECT_LT(told, 12u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kStopped);
  EXPECT_EQ(fleet.peek(kFirst)->counts.not_tried, 30 - told);
  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "on");
  ASSERT_TRUE(fleet.until([&] {
    return fleet.peek(kFirst)->end == RunDocument::End::kComplete && fleet.ended(kFirst);
  }));
  EXPECT_EQ(fleet.shared.hooks.size(), 30u);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 30u);
}

TEST(Run, waves_and_parallel_bound_how_many_are_told_at_once) {
  FleetOptions options;
  options.rotation.runner.parallel = 50;
  Fleet fleet(options);
  const auto hosts = start_hosts(fleet, 4);
  constexpr unsigned kMany = kSanitized ? 110 : 200;
  spread(hosts, kMany, {"a"});
  for (SimHost* host : hosts) {
    for (SimConsumer& consumer : host->consumers) consumer.takes = 5s;
  }
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 1; }));
  fleet.pass(4s);
  EXPECT_EQ(fleet.shared.most_running, 1);
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() > 2; }));
  EXPECT_EQ(fleet.shared.hooks[0].ended.has_value(), true);
  EXPECT_EQ(fleet.shared.hooks[1].ended.has_value(), true);
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() > 20; }));
  EXPECT_LE(fleet.shared.most_running, 18);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_LE(fleet.shared.most_running, 50);
  EXPECT_GT(fleet.shared.most_running, 20);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, kMany);
}

TEST(Run, no_hook_runs_where_the_old_version_is_still_served) {
  FleetOptions options;
  options.lag = 5s;
  Fleet fleet(options);
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 10, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_TRUE(fleet.shared.stale.empty());
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 10u);
}

TEST(Run, a_host_that_never_serves_the_new_version_fails_its_consumers_without_a_hook) {
  FleetOptions options;
  options.lag = 10h;
  Fleet fleet(options);
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 2, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_TRUE(fleet.shared.hooks.empty());
  EXPECT_EQ(fleet.peek(kFirst)->counts.failed, 2u);
}

TEST(Run, a_host_that_is_not_heard_from_is_named_and_let_in_by_retry) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 9, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  // It may be the holder: then another takes over first.
  hosts[1]->frozen = true;
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->unheard, std::vector<std::string>{"web-1"});
  EXPECT_EQ(run->end, RunDocument::End::kInPart);
  EXPECT_EQ(fleet.shared.hooks.size(), 6u);
  hosts[1]->frozen = false;
  fleet.ask_for(Ticket::Kind::kRetry, kFirst, "again");
  ASSERT_TRUE(fleet.until([&] {
    return fleet.peek(kFirst)->end == RunDocument::End::kComplete && fleet.ended(kFirst);
  }));
  EXPECT_EQ(fleet.shared.hooks.size(), 9u);
  EXPECT_TRUE(fleet.peek(kFirst)->unheard.empty());
}

TEST(Run, a_host_is_named_while_it_is_waited_for_and_excused_by_hand_then) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 9, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  hosts[2]->kill();
  hosts[2]->frozen = true;
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] {
    const auto run = fleet.peek(kFirst);
    return run && run->state == RunDocument::State::kEnrolling && !run->unheard.empty();
  }));
  EXPECT_EQ(fleet.peek(kFirst)->unheard, std::vector<std::string>{"web-2"});
  EXPECT_EQ(fleet.mark(kFirst, "web-2"), 1u);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.shared.hooks.size(), 6u);
}

TEST(Run, a_host_that_was_not_heard_from_is_excused_by_hand) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 9, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  hosts[2]->kill();
  hosts[2]->frozen = true;
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->unheard, std::vector<std::string>{"web-2"});
  EXPECT_EQ(fleet.mark(kFirst, "web-2"), 1u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
}

TEST(Run, only_the_last_ones_are_kept) {
  FleetOptions options;
  options.rotation.runner.keep_runs = 2;
  Fleet fleet(options);
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  for (uint64_t i = 1; i <= 4; ++i) {
    fleet.rotate("a", "t" + std::to_string(i));
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(run_of(i)); }));
  }
  fleet.pass(1min);
  const auto runs = fleet.runs();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].run, run_of(3));
  EXPECT_FALSE(fleet.shared.documents->find(sheet_name(run_of(2), "web-0", 0)));
  EXPECT_TRUE(fleet.shared.documents->find(sheet_name(run_of(3), "web-0", 0)));
}

TEST(Run, hosts_that_only_poll_the_pulse_take_part) {
  FleetOptions options;
  options.watches = false;
  Fleet fleet(options);
  const auto hosts = start_hosts(fleet, 4);
  spread(hosts, 20, {"a"});
  start_all(hosts);
  fleet.pass(1min);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }, 10min));
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.shared.hooks.size(), 20u);
}

TEST(Run, idle_hosts_read_little_but_the_pulse) {
  FleetOptions options;
  options.watches = false;
  Fleet fleet(options);
  const auto hosts = start_hosts(fleet, 20);
  spread(hosts, 20, {"a"});
  start_all(hosts);
  fleet.pass(5min);
  fleet.shared.peeks = fleet.shared.lists = 0;
  fleet.pass(10min);
  EXPECT_GE(fleet.shared.peeks, 320);
  EXPECT_LE(fleet.shared.peeks, 480);
  EXPECT_LE(fleet.shared.lists, 4);
}

TEST(Run, no_reply_of_a_write_need_arrive) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 3);
  spread(hosts, 12, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  int turns = 0;
  fleet.each_turn = [&] {
    if (++turns % 97 == 0) hosts[static_cast<size_t>(turns) % 3]->board.lose_replies = 1;
  };
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.shared.hooks.size(), 12u);
  EXPECT_EQ(fleet.shared.most_running, 1);
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 1);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 12u);
}

}  // namespace
}  // namespace keyfs::testing
