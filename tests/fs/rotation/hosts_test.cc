// Which hosts a run waits for: those that share a name, or a state_dir; those that a board has lost;
// those whose programs have only just come.
#include "fs/rotation/hosts_fixture.h"

namespace keyfs::testing {
namespace {

class Hosts : public FleetOfHosts {
 protected:
  using FleetOfHosts::FleetOfHosts;

  std::set<std::string> listed() const { return names("hosts/"); }
  std::set<std::string> names(const std::string& prefix) const {
    std::set<std::string> all;
    for (const auto& one : fleet.shared.documents->list(prefix, "", kMaxBoardPage).documents) {
      all.insert(one.name);
    }
    return all;
  }
  void lose(const std::string& name) {
    const auto there = fleet.shared.documents->find(name);
    ASSERT_TRUE(there) << name;
    fleet.shared.documents->remove(name, there->revision);
  }
  // The table is dropped, without anybody's being told.
  void lose_board() {
    for (const char* part :
         {"hosts/", "run/", "runs/", "rows/", "pulse-0/", "tickets/", "retire/"}) {
      for (const std::string& name : names(part)) lose(name);
    }
  }
};

// --- one name ---

TEST_F(Hosts, two_daemons_of_one_name_are_two_hosts_and_all_their_programs_are_told) {
  SimHost& one = start("web-1", "i1", {user_of("nginx", "a")});
  fleet.pass(10s);
  SimHost& two = start("web-1", "i2", {user_of("nginx", "a"), user_of("php", "a")});
  fleet.pass(30s);
  EXPECT_EQ(one.rotation->host(), "web-1");
  EXPECT_EQ(two.rotation->host(), marked_host_name("web-1", "i2"));
  EXPECT_EQ(listed(), (std::set<std::string>{"hosts/web-1", "hosts/" + two.rotation->host()}));
  EXPECT_EQ(two.log.count("another daemon has this host's name, or this host had it before"), 1u);
  EXPECT_EQ(two.rotation->agent().status().name_taken, "web-1");
  EXPECT_EQ(one.rotation->agent().status().name_taken, "");
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 3u);
  EXPECT_EQ(fleet.shared.hooks.size(), 3u);
}

TEST_F(Hosts, that_start_at_once_with_one_name_do_not_overwrite_each_other) {
  std::vector<SimHost*> hosts;
  for (int i = 0; i < 5; ++i) {
    hosts.push_back(&start("web", "i" + std::to_string(i), {user_of("nginx", "a")}));
  }
  fleet.rotate("a", "early");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 5u);
  EXPECT_EQ(listed().size(), 5u);
}

TEST_F(Hosts, a_marked_name_stays_over_a_restart_also_during_a_run) {
  start("web-1", "i1", {user_of("nginx", "a")});
  fleet.pass(10s);
  SimHost& two = start("web-1", "i2", {user_of("php", "a")});
  two.consumers[0].takes = 20s;
  fleet.pass(30s);
  const std::string marked = two.rotation->host();
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.hooks_by_consumer().contains("web-1/php"); }));
  SimHost& again = fleet.restart(two);
  EXPECT_EQ(again.rotation->host(), marked);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(again.log.count("another daemon has this host's name"), 0u);
  EXPECT_EQ(listed().size(), 2u);
  const auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->counts.ok, 1u);
  EXPECT_EQ(run->counts.failed, 1u);  // interrupted, and only that one
  EXPECT_EQ(run->counts.total, 2u);
}

TEST_F(Hosts, one_without_consumers_leaves_the_rows_of_its_namesake_alone) {
  SimHost& one = start("web-1", "i1", {user_of("nginx", "a")});
  one.consumers[0].takes = 10s;
  SimHost& two = start("web-1", "i2", {});
  fleet.pass(30s);
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.shared.hooks.size(), 1u);
  EXPECT_EQ(two.rotation->host(), "web-1");
  EXPECT_EQ(listed(), std::set<std::string>{"hosts/web-1"});
}

TEST_F(Hosts, a_holder_that_gets_another_name_is_the_holder_by_that_name) {
  start("web-1", "i1", {user_of("nginx", "a")}, false);
  SimHost& two = start("web-1", "i2", {});
  fleet.pass(30s);
  ASSERT_TRUE(two.holds());
  EXPECT_EQ(two.rotation->lock()->holder(), "web-1");
  two.consumers = {user_of("php", "a")};
  two.rotation->agent().on_consumers_changed();
  ASSERT_TRUE(fleet.until([&] { return two.rotation->host() != "web-1"; }, 1min));
  ASSERT_TRUE(two.holds());
  EXPECT_EQ(two.rotation->lock()->holder(), two.rotation->host());
  fleet.pass(10s);
  const auto head = parse_head(fleet.shared.documents->find(kHeadName)->text);
  EXPECT_EQ(head->holder, two.rotation->host());
}

TEST_F(Hosts, one_that_has_lost_its_state_dir_does_not_answer_for_the_one_that_it_was) {
  start("runner", "ir", {});
  SimHost& web = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(30s);
  web.kill();
  web.frozen = true;
  start("web-1", "i2", {}, false);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->unheard, std::vector<std::string>{"web-1"});
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kInPart);
}

// It may have been killed before it had listed the last of its keys.
TEST_F(Hosts, one_that_knows_programs_from_an_earlier_life_is_listed_at_once) {
  start("web-1", "i1", {user_of("nginx", "a")});
  EXPECT_TRUE(fleet.until([&] { return listed().contains("hosts/web-1"); }, 900ms));
}

// --- one state_dir, copied ---

TEST_F(Hosts, a_copied_state_dir_is_noticed_and_no_run_is_complete_until_that_is_marked_as_done) {
  SimHost& one = start("web-1", "i1", {user_of("nginx", "a")});
  fleet.pass(30s);
  SimHost& copy = start("web-1", "i1", {user_of("nginx", "a"), user_of("php", "a")});
  fleet.pass(30s);
  EXPECT_EQ(one.log.count("another daemon runs with a copy of this one's state_dir"), 1u);
  EXPECT_NE(one.rotation->host(), copy.rotation->host());
  EXPECT_EQ(listed().size(), 2u);
  EXPECT_FALSE(one.rotation->agent().status().troubles.empty());
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kInPart);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 3u);
  EXPECT_EQ(fleet.peek(kFirst)->counts.failed, 1u);
  EXPECT_NE(why_unknown(kFirst).find("copy of this host's state_dir"), std::string::npos);
  EXPECT_EQ(fleet.mark(kFirst, kUnknownPrograms), 1u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  run(kSecond);
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kComplete);
  EXPECT_TRUE(one.rotation->agent().status().troubles.empty());
  EXPECT_EQ(fleet.shared.hooks.size(), 6u);
}

// --- one state_dir, and two daemons: umount -l ---

TEST_F(Hosts, one_that_serves_what_is_open_still_leaves_the_board_to_its_successor) {
  start("runner", "ir", {});
  SimHost& one = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(30s);
  one.other_life = OtherLife::kSuccessor;
  SimHost& two = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(30s);
  EXPECT_EQ(one.log.count("a copy of this one's state_dir"), 0u);
  EXPECT_EQ(one.log.count("another keyfs was started with this one's state_dir"), 1u);
  EXPECT_EQ(listed(), std::set<std::string>{"hosts/web-1"});
  EXPECT_EQ(two.rotation->host(), "web-1");
  EXPECT_TRUE(two.rotation->agent().status().troubles.empty());
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.peek(kFirst)->counts.total, 1u);
  EXPECT_EQ(fleet.shared.hooks.size(), 1u);
  EXPECT_EQ(two.consumers[0].has["a"], 2u);
  // Nobody waits for it once it has ended.
  one.kill();
  one.frozen = true;
  const TimePoint begun = fleet.shared.clock.now();
  run(kSecond);
  EXPECT_LT(fleet.shared.clock.now() - begun, 60s);
  EXPECT_TRUE(fleet.peek(kSecond)->unheard.empty());
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kComplete);
}

TEST_F(Hosts, one_with_programs_that_its_successor_does_not_know_tells_them_by_another_name) {
  start("runner", "ir", {});
  SimHost& one = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(30s);
  one.other_life = OtherLife::kSuccessor;
  SimHost& two = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(30s);
  ASSERT_EQ(listed().size(), 1u);
  // As one can that works in a directory of the mount that is gone.
  one.consumers.push_back(user_of("php", "a"));
  one.other_life = OtherLife::kUnknowing;
  one.rotation->agent().on_consumers_changed();
  fleet.pass(10s);
  EXPECT_EQ(listed().size(), 2u);
  EXPECT_NE(one.rotation->host(), two.rotation->host());
  EXPECT_EQ(one.log.count("a copy of this one's state_dir"), 0u);
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(one.find("php")->has["a"], 2u);
  EXPECT_EQ(two.find("nginx")->has["a"], 2u);
  // What it alone knew is not forgotten with it.
  const std::string name = one.rotation->host();
  one.kill();
  one.frozen = true;
  run(kSecond);
  EXPECT_EQ(fleet.peek(kSecond)->unheard, std::vector<std::string>{name});
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kInPart);
}

TEST_F(Hosts, one_that_had_no_programs_does_not_take_its_successors_place) {
  start("runner", "ir", {});
  SimHost& one = start("web-1", "i1", {}, false);
  fleet.pass(30s);
  SimHost& two = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(30s);
  one.other_life = OtherLife::kUnknowing;
  one.consumers.push_back(user_of("php", "a"));
  one.rotation->agent().on_consumers_changed();
  fleet.pass(30s);
  EXPECT_EQ(two.rotation->host(), "web-1");
  EXPECT_EQ(two.log.count("a copy of this one's state_dir"), 0u);
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 2u);
}

TEST_F(Hosts, whose_rows_are_claimed_by_a_copy_notice_it) {
  SimHost& runner = start("runner", "ir", {});
  SimHost& one = start("web-1", "i1", {user_of("nginx", "a"), user_of("php", "a")});
  for (SimConsumer& consumer : one.consumers) consumer.takes = 30s;
  fleet.pass(30s);
  EXPECT_NE(&runner, &one);
  fleet.rotate("a", "ta");
  const std::string sheet = sheet_name(kFirst, "web-1", 0);
  ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 1; }));
  // The copy, as it would: by its own life.
  auto there = fleet.shared.documents->find(sheet);
  Sheet changed = *parse_sheet(there->text);
  for (Row& row : changed.rows) {
    if (row.state == RowState::kWaiting) {
      ASSERT_TRUE(order(row, 1) && keyfs::start(row, 1, 1, "another life", "now"));
      break;
    }
  }
  ASSERT_TRUE(fleet.shared.documents->write(sheet, to_text(changed), there->revision).done);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(one.log.count("another daemon runs with a copy of this one's state_dir"), 1u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kInPart);
}

TEST_F(Hosts, a_daemon_that_is_started_again_is_no_copy) {
  SimHost* web = &start("web-1", "i1", {user_of("nginx", "a")});
  start("web-2", "i2", {user_of("nginx", "a")});
  fleet.pass(30s);
  for (int i = 0; i < 3; ++i) {
    web = &fleet.restart(*web);
    fleet.pass(45s);
  }
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 2u);
  EXPECT_EQ(web->rotation->host(), "web-1");
  EXPECT_TRUE(web->rotation->agent().status().troubles.empty());
  EXPECT_EQ(listed().size(), 2u);
}

// --- the board is lost ---

class PollingHosts : public Hosts {
 protected:
  PollingHosts()
      : Hosts([] {
          FleetOptions options;
          options.watches = false;
          return options;
        }()) {}
};

TEST_F(PollingHosts, a_board_that_was_made_anew_is_filled_again_before_a_run_ends) {
  start("web-1", "i1", {user_of("nginx", "a")});
  SimHost& two = start("web-2", "i2", {user_of("nginx", "a")});
  start("web-3", "i3", {user_of("nginx", "a")});
  fleet.pass(2min);
  run(kFirst);
  ASSERT_EQ(listed().size(), 3u);
  lose_board();
  fleet.rotate("a", "anew");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(listed().size(), 3u);
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 3u);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  // So that a host that is off in a later run is missed.
  two.kill();
  two.frozen = true;
  run(kSecond);
  EXPECT_EQ(fleet.peek(kSecond)->unheard, std::vector<std::string>{"web-2"});
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kInPart);
}

TEST_F(PollingHosts, a_runner_that_finds_no_host_any_more_waits_for_those_that_it_has_seen) {
  start("runner", "ir", {});
  SimHost& web = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(2min);
  run(kFirst);
  web.frozen = true;
  lose("hosts/web-1");
  run(kSecond);
  EXPECT_EQ(fleet.peek(kSecond)->unheard, std::vector<std::string>{"web-1"});
}

TEST_F(PollingHosts, a_board_that_was_restored_from_a_backup_has_all_hosts_again) {
  SimHost& runner = start("runner", "ir", {user_of("nginx", "a")});
  fleet.pass(2min);
  const auto backup = *fleet.shared.documents->find(pulse_name(0));
  start("web-1", "i1", {user_of("nginx", "a")});
  fleet.pass(1min);
  run(kFirst);
  ASSERT_TRUE(listed().contains("hosts/web-1"));
  const auto now = *fleet.shared.documents->find(pulse_name(0));
  fleet.shared.documents->write(pulse_name(0), backup.text, now.revision);
  lose("hosts/web-1");
  const int gaps = runner.gaps;
  fleet.pass(1min);
  EXPECT_TRUE(listed().contains("hosts/web-1"));
  EXPECT_EQ(runner.gaps, gaps + 1);
}

TEST_F(PollingHosts, one_that_learns_of_its_successor_only_in_a_run_leaves_it_to_that_one) {
  start("runner", "ir", {});
  SimHost& one = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(2min);
  one.other_life = OtherLife::kSuccessor;
  start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(5s);
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.peek(kFirst)->counts.total, 1u);
  EXPECT_EQ(listed(), std::set<std::string>{"hosts/web-1"});
}

TEST_F(Hosts, a_document_that_is_gone_is_put_back_by_itself_and_at_the_latest_by_a_run) {
  start("web-1", "i1", {user_of("nginx", "a")});
  fleet.pass(2min);
  lose("hosts/web-1");
  fleet.pass(11min);
  EXPECT_EQ(listed(), std::set<std::string>{"hosts/web-1"});
  lose("hosts/web-1");
  run(kFirst);
  EXPECT_EQ(listed(), std::set<std::string>{"hosts/web-1"});
  EXPECT_EQ(fleet.peek(kFirst)->counts.ok, 1u);
}

TEST_F(Hosts, one_whose_document_is_damaged_is_waited_for) {
  start("runner", "ir", {});
  SimHost& web = start("web-1", "i1", {user_of("nginx", "a")}, false);
  fleet.pass(30s);
  web.frozen = true;
  fleet.shared.documents->damage("hosts/web-1");
  run(kFirst);
  EXPECT_EQ(fleet.peek(kFirst)->unheard, std::vector<std::string>{"web-1"});
}

// --- a program that has only just come ---

class HastyHosts : public Hosts {
 protected:
  HastyHosts()
      : Hosts([] {
          FleetOptions options;
          options.rotation.runner.settle = 100ms;
          return options;
        }()) {}
};

TEST_F(HastyHosts, who_opened_the_key_right_before_it_was_rotated_is_waited_for) {
  start("runner", "ir", {});
  SimHost& web = start("web-1", "i1", {}, false);
  fleet.pass(1min);
  web.consumers = {user_of("nginx", "a")};
  web.rotation->agent().on_consumers_changed();
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return listed().size() == 1; }, 2s));
  // Listed, and off before it can enrol.
  web.kill();
  web.frozen = true;
  const bool enrolled = fleet.shared.documents->find(sheet_name(kFirst, "web-1", 0)).has_value();
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kInPart);
  if (!enrolled) {
    EXPECT_EQ(fleet.peek(kFirst)->unheard, std::vector<std::string>{"web-1"});
  }
}

TEST(HostIdentities, are_kept_as_they_are) {
  for (const HostIdentity& one : {HostIdentity{"5f0c", false}, HostIdentity{"5f0c", true}}) {
    EXPECT_EQ(parse_host_identity(to_text(one)), one);
  }
  for (const char* none : {"", "\n", "5f0c", " marked\n", "5f 0c\n", "5f/0c marked\n"}) {
    EXPECT_EQ(parse_host_identity(none), HostIdentity()) << none;
  }
  EXPECT_TRUE(is_host_name(marked_host_name(std::string(kMaxHostName, 'w'), "5f0c")));
  EXPECT_NE(marked_host_name("web", "5f0c"), marked_host_name("web", "5f0d"));
}

}  // namespace
}  // namespace keyfs::testing
