#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/race.h"
#include "fs/rotation/refresher_fixture.h"
#include "support/tiny_server.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::Child;
using testing::comes_true;
using testing::contents;
using testing::listener;
using testing::RefreshTest;
using testing::rules_of;
using testing::sleeper;
using testing::TinyServer;
using testing::write_text;
using What = RefreshOutcome::What;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(RefreshTest, a_signal_goes_to_each_process_that_has_opened_a_key_and_runs_still) {
  start_with("signal:HUP", "confirm = exit\n");
  Child first(listener(folder_.file("first")));
  Child second(listener(folder_.file("second")));
  Child stranger(listener(folder_.file("stranger")));
  Child ended(sleeper());
  for (const char* name : {"first", "second", "stranger"}) {
    ASSERT_TRUE(comes_true([&] { return contents(folder_.file(name)) == "ready\n"; }));
  }
  open(info_of(first.pid()), "orders", 1);
  open(info_of(first.pid()), "tls", 8);
  open(info_of(second.pid()), "tls", 8);
  open(info_of(stranger.pid()), "other", 1);
  open(info_of(ended.pid()), "orders", 1);
  consumers_->keys_in_use();
  ended.end();
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kOk) << outcome.why;
  EXPECT_TRUE(comes_true([&] { return contents(folder_.file("first")) == "ready\nhup\n"; }));
  EXPECT_TRUE(comes_true([&] { return contents(folder_.file("second")) == "ready\nhup\n"; }));
  EXPECT_EQ(contents(folder_.file("stranger")), "ready\n");
}

TEST_F(RefreshTest, with_confirm_open_the_opening_of_every_key_ends_it_well) {
  start_with("signal:HUP");
  Child child(listener(folder_.file("heard")));
  ASSERT_TRUE(comes_true([&] { return contents(folder_.file("heard")) == "ready\n"; }));
  const auto info = info_of(child.pid());
  open(info, "orders", 1);
  open(info, "tls", 8);
  std::thread consumer([&] {
    comes_true([&] { return contents(folder_.file("heard")) == "ready\nhup\n"; });
    open(info, "orders", 2);
    open(info, "tls", 9);
  });
  const auto outcome = refresh();
  consumer.join();
  EXPECT_EQ(outcome.what, What::kOk) << outcome.why;
}

TEST_F(RefreshTest, a_hook_that_ends_well_while_the_new_version_is_not_opened_is_a_failure) {
  start_with("exec:" + script("exit 0"), "timeout = 1s\n");
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  open(info_of(child.pid()), "tls", 9);
  const TimePoint begin = loop_.now();
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_EQ(outcome.why,
            "1 process has not opened orders/2 within 1s: pid " + std::to_string(child.pid()));
  EXPECT_GE(loop_.now() - begin, 1s);
  EXPECT_LT(loop_.now() - begin, 3s);
}

TEST_F(RefreshTest, of_several_keys_that_are_not_opened_each_is_named) {
  start_with("exec:" + script("exit 0"), "timeout = 1s\n");
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  open(info_of(child.pid()), "tls", 8);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_EQ(outcome.why, "1 process has not opened orders/2 within 1s: pid " +
                             std::to_string(child.pid()) + "; the same of tls/9");
}

TEST_F(RefreshTest, a_consumer_that_dies_of_the_signal_is_a_failure) {
  start_with("signal:HUP", "timeout = 1s\n");
  Child child(sleeper());  // takes no HUP
  open(info_of(child.pid()), "orders", 1);
  open(info_of(child.pid()), "tls", 9);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_EQ(outcome.why, "nobody of it has opened orders/2 within 1s (version 1 was the last)");
}

TEST_F(RefreshTest, a_program_finds_the_run_in_its_environment) {
  const std::string out = folder_.file("environment");
  start_with("exec:" + script("/usr/bin/env > " + out), "confirm = exit\n");
  open(info_of(0), "orders", 1);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kOk) << outcome.why;
  const std::string text = contents(out);
  EXPECT_THAT(text, HasSubstr("KEYFS_RUN=r7\n"));
  EXPECT_THAT(text, HasSubstr("KEYFS_CONSUMER=app\n"));
  EXPECT_THAT(text, HasSubstr("KEYFS_KEYS=orders/2 tls/9\n"));
  EXPECT_THAT(text, HasSubstr("KEYFS_HOST=h1\n"));
}

TEST_F(RefreshTest, a_program_that_fails_is_a_failure_but_not_with_confirm_none) {
  const std::string path = script("exit 4");
  start_with("exec:" + path, "confirm = exit\n");
  open(info_of(0), "orders", 1);
  auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_EQ(outcome.why, path + " exited with code 4");
  start_with("exec:" + path, "confirm = none\n");
  outcome = refresh();
  EXPECT_EQ(outcome.what, What::kOk) << outcome.why;
}

TEST_F(RefreshTest, a_program_that_hangs_is_killed_at_the_time_out) {
  const std::string self = folder_.file("self");
  start_with("exec:" + script("echo $$ > " + self + "; sleep 1000"), "timeout = 1s\n");
  open(info_of(0), "orders", 1);
  const TimePoint begin = loop_.now();
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("did not end in time, and was killed"));
  EXPECT_GE(loop_.now() - begin, 1s);
  EXPECT_LT(loop_.now() - begin, 2s);
  const auto pid = static_cast<pid_t>(std::stol(contents(self)));
  EXPECT_TRUE(comes_true([pid] { return ::kill(pid, 0) != 0; }));
}

TEST_F(RefreshTest, the_requests_time_out_counts_if_it_is_shorter) {
  start_with("exec:" + script("sleep 1000"));
  open(info_of(0), "orders", 1);
  const TimePoint begin = loop_.now();
  EXPECT_EQ(refresh(300ms).what, What::kFailed);
  EXPECT_LT(loop_.now() - begin, 2s);
}

TEST_F(RefreshTest, dropping_the_task_kills_the_program) {
  const std::string self = folder_.file("self");
  start_with("exec:" + script("echo $$ > " + self + "; sleep 1000"));
  open(info_of(0), "orders", 1);
  {
    TaskGroup<RefreshOutcome> group(loop_);
    group.start(refresher_->refresh(request()));
    while (contents(self).empty()) {
      const auto none = loop_.run_task(group.next(loop_.now() + 5ms));
      ASSERT_FALSE(none);
    }
  }
  const auto pid = static_cast<pid_t>(std::stol(contents(self)));
  EXPECT_TRUE(comes_true([pid] { return ::kill(pid, 0) != 0; }));
}

TEST_F(RefreshTest, a_program_that_others_may_write_is_not_run) {
  const std::string ran = folder_.file("ran");
  const std::string path = script("touch " + ran);
  ::chmod(path.c_str(), 0777);
  start_with("exec:" + path, "confirm = none\n");
  open(info_of(0), "orders", 1);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("others can write it"));
  EXPECT_FALSE(std::filesystem::exists(ran));
}

TEST_F(RefreshTest, one_program_that_hangs_holds_up_no_other) {
  rules_ = testing::rules_of(
      "[consumer slow]\nmatch = uid:0\nkeys = slow\nrefresh = exec:" + script("sleep 1000") +
      "\n[consumer quick]\nmatch = uid:0\nrefresh = exec:/bin/true\n"
      "confirm = exit\n");
  consumers_ = Consumers::open(loop_, log_.log(), rules_, "");
  refresher_ = std::make_unique<HostRefresher>(loop_, poller_, arena_, *consumers_,
                                               HostRefresher::Options());
  TaskGroup<RefreshOutcome> group(loop_);
  RefreshRequest slow = request();
  slow.consumer = "slow";
  RefreshRequest quick = request();
  quick.consumer = "quick";
  group.start(refresher_->refresh(slow));
  const size_t second = group.start(refresher_->refresh(quick));
  const auto first = loop_.run_task(group.next(loop_.now() + 10s));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->number, second);
  EXPECT_EQ(first->value.what, What::kOk) << first->value.why;
}

TEST_F(RefreshTest, programs_beyond_the_limit_fail_and_say_so) {
  start("[consumer app]\nmatch = uid:0\nrefresh = exec:" + script("sleep 1000") + "\n");
  HostRefresher::Options options;
  options.programs = 1;
  refresher_ = std::make_unique<HostRefresher>(loop_, poller_, arena_, *consumers_, options);
  TaskGroup<RefreshOutcome> group(loop_);
  group.start(refresher_->refresh(request()));
  const size_t second = group.start(refresher_->refresh(request()));
  const auto first = loop_.run_task(group.next(loop_.now() + 10s));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->number, second);
  EXPECT_EQ(first->value.why, "too many hooks run already: 1");
}

TEST_F(RefreshTest, a_unit_that_runs_is_reloaded_and_one_that_does_not_is_gone) {
  systemctl("active");
  start_with("systemd:reload nginx.service", "confirm = exit\n");
  open(info_of(0), "orders", 1);
  auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kOk) << outcome.why;
  EXPECT_THAT(contents(folder_.file("asked")),
              HasSubstr("--no-ask-password reload -- nginx.service\n"));
  for (const char* state : {"inactive", "failed"}) {
    std::filesystem::remove(folder_.file("asked"));
    systemctl(state);
    outcome = refresh();
    EXPECT_EQ(outcome.what, What::kGone);
    EXPECT_EQ(outcome.why, std::string("unit nginx.service does not run (") + state + ")");
    EXPECT_THAT(contents(folder_.file("asked")), Not(HasSubstr("reload")));
  }
}

TEST_F(RefreshTest, a_restart_does_not_start_what_was_stopped_meanwhile) {
  systemctl("active");
  start_with("systemd:restart nginx.service", "confirm = exit\n");
  open(info_of(0), "orders", 1);
  EXPECT_EQ(refresh().what, What::kOk);
  EXPECT_THAT(contents(folder_.file("asked")), HasSubstr(" try-restart -- nginx.service\n"));
}

TEST_F(RefreshTest, a_reload_that_fails_says_where_to_look) {
  systemctl("active", "exit 1");
  start_with("systemd:reload nginx.service");
  open(info_of(0), "orders", 1);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_EQ(
      outcome.why,
      "systemctl reload nginx.service exited with code 1; systemctl status nginx.service tells "
      "why");
}

TEST_F(RefreshTest, without_systemd_it_is_a_failure) {
  start_with("systemd:reload nginx.service");
  open(info_of(0), "orders", 1);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("systemctl"));
}

TEST_F(RefreshTest, a_request_tells_of_the_run_and_the_opening_confirms_it) {
  std::mutex mutex;
  std::string got;
  const auto info = info_of(0);
  TinyServer server([&](TinyServer::Connection& connection) {
    const std::string asked = connection.read_request();
    {
      std::lock_guard lock(mutex);
      got = asked;
    }
    connection.reply("204 No Content", "");
    open(info, "orders", 2);
    open(info, "tls", 9);
  });
  start_with("http:POST " + server.url("/reload"));
  open(info, "orders", 1);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kOk) << outcome.why;
  std::lock_guard lock(mutex);
  EXPECT_THAT(got, StartsWith("POST /reload HTTP/1.1\r\n"));
  EXPECT_THAT(got, HasSubstr(R"({"consumer":"app","host":"h1","keys":["orders/2","tls/9"],)"
                             R"("run":"r7"})"));
}

TEST_F(RefreshTest, an_answer_that_is_no_success_is_a_failure_and_tells_nothing_of_its_text) {
  std::atomic<bool> moved{false};
  TinyServer server([&](TinyServer::Connection& connection) {
    connection.read_request();
    connection.reply(moved ? "302 Found" : "503 Busy", "secret text",
                     "Location: http://127.0.0.1/\r\n");
  });
  start_with("http:POST " + server.url("/reload?token=hidden"));
  open(info_of(0), "orders", 1);
  const std::string host = "127.0.0.1:" + std::to_string(server.port());
  auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_EQ(outcome.why, host + " answered 503");
  moved = true;
  outcome = refresh();
  EXPECT_EQ(outcome.why, host + " answered 302; redirects are not followed");
  EXPECT_EQ(server.requests(), 2);
}

TEST_F(RefreshTest, a_connection_that_is_cut_is_not_tried_again) {
  TinyServer server([&](TinyServer::Connection& connection) {
    connection.read_request();
    connection.reset();
  });
  start_with("http:POST " + server.url("/"));
  open(info_of(0), "orders", 1);
  EXPECT_EQ(refresh().what, What::kFailed);
  EXPECT_EQ(refresh().what, What::kFailed);
  EXPECT_EQ(server.requests(), 2);
}

TEST_F(RefreshTest, a_server_that_hangs_is_left_at_the_time_out) {
  TinyServer server([&](TinyServer::Connection& connection) {
    connection.read_request();
    connection.hang();
  });
  start_with("http:POST " + server.url("/"), "timeout = 1s\n");
  open(info_of(0), "orders", 1);
  const TimePoint begin = loop_.now();
  EXPECT_EQ(refresh().what, What::kFailed);
  EXPECT_LT(loop_.now() - begin, 3s);
}

TEST_F(RefreshTest, processes_that_cannot_be_signalled_by_number_are_a_failure) {
  start_with("signal:HUP");
  open(info_of(0), "orders", 1);
  const auto outcome = refresh();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("PID namespace"));
}

}  // namespace
}  // namespace keyfs
