// Which consumers are gone, and which only seem to be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "fs/rotation/refresher_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::Child;
using testing::comes_true;
using testing::contents;
using testing::listener;
using testing::rules_of;
using testing::sleeper;
using testing::write_text;
using What = RefreshOutcome::What;
using ::testing::HasSubstr;

class GoneTest : public testing::RefreshTest {};

TEST_F(GoneTest, a_number_that_was_used_again_gets_no_signal_and_the_consumer_is_gone) {
  start_with("signal:HUP");
  Child child(listener(folder_.file("heard")));
  ASSERT_TRUE(comes_true([&] { return contents(folder_.file("heard")) == "ready\n"; }));
  // The file tells of a process that had this number earlier.
  auto process = process_as_of(child.pid(), clock_.now());
  ASSERT_TRUE(process);
  open(info_of(child.pid()), "orders", 1);
  ASSERT_TRUE(save());
  std::string text = contents(file());
  const std::string now = "," + std::to_string(process->start) + ",";
  ASSERT_NE(text.find(now), std::string::npos);
  text.replace(text.find(now), now.size(), "," + std::to_string(process->start - 1) + ",");
  write_text(file(), text);
  start_with("signal:HUP");
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kGone);
  EXPECT_THAT(outcome.why, HasSubstr("no process that opened the keys runs"));
  EXPECT_EQ(contents(folder_.file("heard")), "ready\n");
}

TEST_F(GoneTest, a_process_that_became_another_program_gets_no_signal_and_is_not_gone) {
  start_with("signal:HUP", "confirm = exit\n");
  Child child(sleeper());
  open(info_of(child.pid(), "/", "/usr/bin/wrapper"), "orders", 1);  // and then called exec(2)
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("pid " + std::to_string(child.pid()) + " gets no signal"));
  EXPECT_EQ(::kill(child.pid(), 0), 0);
  child.end();
  EXPECT_EQ(refresh().what, What::kGone);
}

TEST_F(GoneTest, whoever_inherited_an_open_key_keeps_the_consumer_from_being_gone) {
  mountpoint_ = folder_.path();
  write_text(folder_.file("orders"), "");
  write_text(folder_.file("others"), "");
  for (const std::string kind : {"signal:HUP", "watch"}) {
    start_with(kind, "timeout = 1s\n");
    Child opener(sleeper());
    open(info_of(opener.pid()), "orders", 1);
    const auto holder = [&](const std::string& name) {
      return std::vector<std::string>{"/bin/sh", "-c",
                                      "exec 9<" + folder_.file(name) + "; exec /bin/sleep 1000"};
    };
    const auto holds = [](const Child& child) {
      return comes_true([&] { return program_of(child.pid()).ends_with("/sleep"); });
    };
    Child heir(holder("orders"));
    Child stranger(holder("others"));
    ASSERT_TRUE(holds(heir) && holds(stranger));
    opener.end();
    const auto outcome = refresh();
    EXPECT_EQ(outcome.what, What::kFailed);
    EXPECT_THAT(outcome.why, HasSubstr("pid " + std::to_string(heir.pid()) + " has one of them"));
    heir.end();
    EXPECT_EQ(refresh().what, What::kGone);
    stranger.end();
  }
}

TEST_F(GoneTest, a_consumer_that_watches_is_waited_for_or_gone) {
  start_with("watch", "timeout = 1s\n");
  Child child(sleeper());
  const auto info = info_of(child.pid());
  open(info, "orders", 1);
  open(info, "tls", 9);
  EXPECT_EQ(refresh().what, What::kFailed);
  std::thread consumer([&] {
    std::this_thread::sleep_for(50ms);
    open(info, "orders", 2);
  });
  const auto outcome = refresh();
  consumer.join();
  EXPECT_EQ(outcome.what, What::kOk) << outcome.why;
  child.end();
  EXPECT_EQ(refresh().what, What::kGone);
}

TEST_F(GoneTest, a_consumer_whose_section_was_removed_fails_while_its_program_runs) {
  start_with("watch");
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  ASSERT_EQ(told({{"orders", 2}}), std::vector<std::string>{"app"});
  for (const char* rules : {"", "[consumer ap]\nmatch = uid:0\nrefresh = watch\n"}) {
    const ConsumerRules others = rules_of(rules);
    consumers_->set_rules(others);
    const auto outcome = refresh();
    EXPECT_EQ(outcome.what, What::kFailed) << rules;
    EXPECT_THAT(outcome.why, HasSubstr("pid " + std::to_string(child.pid()) + " that opened"));
    EXPECT_THAT(outcome.why, HasSubstr("[consumer app] is not in keyfs.ini of this host any more"));
    consumers_->set_rules(rules_);
  }
  child.end();
  const ConsumerRules none;
  consumers_->set_rules(none);
  EXPECT_EQ(refresh().what, What::kGone);  // and is, once its process has ended
  consumers_->set_rules(rules_);
}

TEST_F(GoneTest, a_consumer_whose_section_was_removed_fails_while_that_is_not_known) {
  start_with("watch");
  open(info_of(0), "orders", 1);
  const ConsumerRules none;
  consumers_->set_rules(none);
  const auto outcome = refresh();
  consumers_->set_rules(rules_);
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("programs may run still that use the keys"));
}

TEST_F(GoneTest, a_consumer_whose_programs_are_forgotten_is_not_gone) {
  start_with("watch");  // and keyfs had a list of its programs when it was enrolled
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("programs may run still that use the keys"));
}

TEST_F(GoneTest, a_consumer_whose_section_fits_it_no_more_fails_while_it_runs) {
  for (const std::string refresh_by : {"signal:HUP", "watch", "systemd:reload app.service"}) {
    systemctl("inactive");
    start_with(refresh_by);
    Child child(sleeper());
    open(info_of(child.pid()), "orders", 1);
    const ConsumerRules mistyped =
        rules_of("[consumer app]\nmatch = uid:12345\nrefresh = " + refresh_by + "\n");
    consumers_->set_rules(mistyped);
    const auto outcome = refresh();
    consumers_->set_rules(rules_);
    EXPECT_EQ(outcome.what, What::kFailed) << refresh_by;
    EXPECT_THAT(outcome.why, HasSubstr("fits no program that uses the keys any more"));
  }
}

TEST_F(GoneTest, a_unit_that_does_not_run_is_not_gone_while_processes_of_the_consumer_do) {
  systemctl("inactive");
  start_with("systemd:reload misnamed.service", "confirm = exit\n");
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("unit misnamed.service does not run (inactive), but pid " +
                                     std::to_string(child.pid())));
  child.end();
  EXPECT_EQ(refresh().what, What::kGone);
}

}  // namespace
}  // namespace keyfs
