// Hosts that have lost their list of programs, and do not know any more who is to be told.
#include "fs/rotation/hosts_fixture.h"

namespace keyfs::testing {
namespace {

class LostList : public FleetOfHosts {};

TEST_F(LostList, one_that_lost_its_list_of_programs_fails_runs_of_these_keys_until_marked_as_done) {
  start("runner", "ir", {user_of("app", "a")});
  SimHost& web = start("web-1", "i1", {user_of("nginx", "a"), user_of("php", "b")});
  fleet.pass(30s);
  web.consumers.clear();
  SimHost& lost = fleet.restart(web);
  fleet.pass(30s);
  EXPECT_EQ(lost.log.count("this host has lost its list of programs that use keys"), 1u);
  EXPECT_EQ(lost.rotation->agent().status().troubles.size(), 1u);
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kInPart);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 1u);
  EXPECT_EQ(why_unknown(kFirst),
            "this host has lost its list of programs that use it; mark it as done once they were "
            "told");
  // Nobody has done anything about it: the next one is not complete either, nor after a restart.
  SimHost& again = fleet.restart(lost);
  fleet.pass(30s);
  run(kSecond);
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kInPart);
  fleet.ask_for(Ticket::Kind::kRetry, kSecond, "again");
  ASSERT_TRUE(
      fleet.until([&] { return fleet.peek(kSecond)->attempt == 2 && fleet.ended(kSecond); }));
  EXPECT_NE(why_unknown(kSecond), "");
  EXPECT_EQ(fleet.mark(kSecond, std::string("web-1/") + kUnknownPrograms), 1u);
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kComplete);
  run(kThird);
  EXPECT_EQ(fleet.peek(kThird)->end, RunDocument::End::kComplete);
  EXPECT_EQ(again.rotation->agent().status().troubles.size(), 1u);  // of b
  fleet.rotate("b", "tb");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(run_of(4)); }));
  EXPECT_EQ(fleet.peek(run_of(4))->end, RunDocument::End::kInPart);
}

TEST_F(LostList, one_whose_unknown_programs_were_marked_as_done_has_no_trouble_at_its_next_look) {
  start("runner", "ir", {user_of("app", "a")});
  SimHost& web = start("web-1", "i1", {user_of("nginx", "a")});
  fleet.pass(30s);
  web.consumers.clear();
  SimHost& lost = fleet.restart(web);
  fleet.pass(30s);
  const auto troubles = [](SimHost& host) {
    return host.rotation->agent().status().troubles.size();
  };
  run(kFirst);
  fleet.pass(10min);
  EXPECT_EQ(troubles(lost), 1u);  // nobody has marked anything
  EXPECT_EQ(fleet.mark(kFirst, std::string("web-1/") + kUnknownPrograms), 1u);
  EXPECT_TRUE(fleet.until([&] { return troubles(lost) == 0; }, 1min));
  fleet.pass(10s);
  SimHost& again = fleet.restart(lost);
  fleet.pass(30s);
  EXPECT_EQ(troubles(again), 0u);
  EXPECT_EQ(again.log.count("this host has lost its list of programs that use keys"), 0u);
  run(kSecond);
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kComplete);
}

TEST_F(LostList, a_mark_of_one_key_leaves_the_trouble_of_the_others) {
  start("runner", "ir", {user_of("app", "a")});
  SimHost& web = start("web-1", "i1", {user_of("nginx", "a"), user_of("php", "b")});
  fleet.pass(30s);
  web.consumers.clear();
  SimHost& lost = fleet.restart(web);
  fleet.pass(30s);
  run(kFirst);
  EXPECT_EQ(fleet.mark(kFirst, std::string("web-1/") + kUnknownPrograms), 1u);
  const auto says_one = [&] {
    const auto troubles = lost.rotation->agent().status().troubles;
    return troubles.size() == 1 && troubles[0].find("1 of its keys") != std::string::npos;
  };
  EXPECT_TRUE(fleet.until(says_one, 1min));
  fleet.pass(10min);
  EXPECT_TRUE(says_one());
}

TEST_F(LostList, that_lost_their_lists_stop_no_run_and_the_others_are_told) {
  std::vector<SimHost*> hosts;
  for (int i = 0; i < 6; ++i) {
    const std::string number = std::to_string(i);
    hosts.push_back(&start("web-" + number, "i" + number, {user_of("nginx", "a")}));
  }
  fleet.pass(30s);
  for (int i = 0; i < 4; ++i) {
    hosts[static_cast<size_t>(i)]->consumers.clear();
    fleet.restart(*hosts[static_cast<size_t>(i)]);
  }
  fleet.pass(1min);
  run(kFirst);
  const auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->end, RunDocument::End::kInPart);
  EXPECT_EQ(run->counts.ok, 2u);
  EXPECT_EQ(run->counts.failed, 4u);
}

}  // namespace
}  // namespace keyfs::testing
