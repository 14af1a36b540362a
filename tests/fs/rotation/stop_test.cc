// Runs that are stopped, or that it is too late to stop.
#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

class Stop : public ::testing::Test {
 protected:
  explicit Stop(unsigned parallel = 1)
      : fleet([parallel] {
          FleetOptions options;
          options.rotation.runner.parallel = parallel;
          return options;
        }()) {
    for (int i = 0; i < 2; ++i) hosts.push_back(&fleet.add("web-" + std::to_string(i)));
  }
  SimConsumer& add(size_t host, const std::string& name) {
    SimConsumer consumer;
    consumer.name = name;
    consumer.keys = {"a"};
    hosts[host]->consumers.push_back(consumer);
    return hosts[host]->consumers.back();
  }
  void rotate() {
    fleet.pass(30s);
    fleet.rotate("a", "ta");
  }
  bool first_hook_runs() {
    return fleet.until([&] { return !fleet.shared.hooks.empty(); });
  }
  bool ends() {
    if (!fleet.until([&] { return fleet.ended(kFirst); })) return false;
    fleet.pass(1s);
    return true;
  }

  Fleet fleet;
  std::vector<SimHost*> hosts;
};

struct AllAtOnce : Stop {
  AllAtOnce() : Stop(10) {}
};

TEST_F(Stop, a_run_whose_last_consumers_fail_ends_in_part_with_one_message) {
  for (int i = 0; i < 3; ++i) add(static_cast<size_t>(i) % 2, "c" + std::to_string(i)).fails = "no";
  for (SimHost* host : hosts) host->start();
  rotate();
  ASSERT_TRUE(ends());
  const auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->end, RunDocument::End::kInPart);
  EXPECT_EQ(run->stop_why, "");
  EXPECT_EQ(run->counts.failed, 3u);
  EXPECT_EQ(run->counts.not_tried, 0u);
  EXPECT_EQ(fleet.shared.notices, std::vector<std::string>{"ended run-00000001 in part"});
}

TEST_F(AllAtOnce, too_many_failures_stop_no_run_in_which_all_have_begun) {
  for (int i = 0; i < 5; ++i) add(static_cast<size_t>(i) % 2, "c" + std::to_string(i)).fails = "no";
  for (SimHost* host : hosts) host->start();
  rotate();
  ASSERT_TRUE(first_hook_runs());
  // One that is told in the wave of the others, and ends well when they have failed.
  for (SimConsumer& consumer : hosts[0]->consumers) {
    if (consumer.name == fleet.shared.hooks[0].consumer) continue;
    consumer.takes = 20s;
    consumer.fails.reset();
    break;
  }
  ASSERT_TRUE(ends());
  const auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->end, RunDocument::End::kInPart);
  EXPECT_EQ(run->counts.failed, 4u);
  EXPECT_EQ(run->counts.ok, 1u);
  EXPECT_EQ(fleet.shared.notices, std::vector<std::string>{"ended run-00000001 in part"});
}

TEST_F(Stop, by_hand_while_the_last_hook_runs_it_changes_nothing) {
  add(0, "slow").takes = 20s;
  for (SimHost* host : hosts) host->start();
  rotate();
  ASSERT_TRUE(first_hook_runs());
  fleet.ask_for(Ticket::Kind::kStop, kFirst, "halt");
  ASSERT_TRUE(
      fleet.until([&] { return fleet.peek(kFirst)->state == RunDocument::State::kStopping; }, 15s));
  ASSERT_TRUE(ends());
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.peek(kFirst)->stop_why, "");
  EXPECT_FALSE(fleet.shared.documents->find("tickets/halt"));
  EXPECT_EQ(fleet.shared.notices, std::vector<std::string>{"ended run-00000001 complete"});
}

TEST_F(Stop, by_hand_whoever_comes_later_is_left_out) {
  SimConsumer& slow = add(0, "slow");
  slow.takes = 3min;
  slow.timeout = 10min;
  add(1, "late");
  hosts[0]->start();
  rotate();
  ASSERT_TRUE(first_hook_runs());
  fleet.ask_for(Ticket::Kind::kStop, kFirst, "halt");
  ASSERT_TRUE(
      fleet.until([&] { return fleet.peek(kFirst)->state == RunDocument::State::kStopping; }, 15s));
  hosts[1]->start(false);
  ASSERT_TRUE(ends());
  EXPECT_EQ(fleet.shared.hooks.size(), 1u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kStopped);
  EXPECT_EQ(fleet.peek(kFirst)->counts.not_tried, 1u);
  EXPECT_EQ(fleet.peek(kFirst)->stop_why, "asked for by alice");
  EXPECT_EQ(fleet.shared.notices, std::vector<std::string>{"ended run-00000001 stopped"});
}

}  // namespace
}  // namespace keyfs::testing
