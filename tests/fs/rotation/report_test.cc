#include "fs/rotation/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fs/rotation/sample_report.h"

namespace keyfs {
namespace {

using testing::at_second;
using testing::sample_report;

TEST(Report, a_run_in_which_all_were_told_is_done) {
  const RunReport report = sample_report(65);
  EXPECT_TRUE(report.summary().complete());
  EXPECT_EQ(report.summary().word(), "complete");
  EXPECT_EQ(to_text(report.counts()), "65 ok of 65 consumers");
}

TEST(Report, one_failure_makes_a_run_partial_until_it_is_marked) {
  RunReport report = sample_report(65, {50});
  EXPECT_FALSE(report.summary().complete());
  EXPECT_EQ(report.summary().word(), "in part");
  EXPECT_EQ(to_text(report.counts()), "64 ok, 1 failed of 65 consumers");
  report.consumers[49].state = ConsumerState::kMarked;
  EXPECT_TRUE(report.summary().complete());
  EXPECT_EQ(to_text(report.counts()), "64 ok, 1 done by hand of 65 consumers");
}

TEST(Report, whoever_was_not_heard_from_keeps_a_run_from_being_complete) {
  RunReport report = sample_report(2);
  report.not_heard_from = {"web-7"};
  EXPECT_FALSE(report.summary().complete());
  EXPECT_FALSE(report.counts().all_told());
}

TEST(Report, a_gap_keeps_a_run_from_being_complete_though_all_were_told) {
  RunReport report = sample_report(2);
  report.keys[0].missing = {"us-west-2"};
  EXPECT_TRUE(report.counts().all_told());
  EXPECT_FALSE(report.summary().complete());
}

TEST(Report, a_key_that_is_overdue_keeps_a_run_from_being_complete) {
  RunReport report = sample_report(2);
  report.keys[0].state = RotatedKey::State::kOverdue;
  EXPECT_FALSE(report.counts().all_told());
  EXPECT_FALSE(report.summary().complete());
}

TEST(Report, whoever_has_ended_need_not_be_told) {
  RunReport report = sample_report(2);
  report.consumers[1].state = ConsumerState::kGone;
  EXPECT_TRUE(report.summary().complete());
}

TEST(Report, a_stopped_run_is_never_complete) {
  RunReport report = sample_report(2);
  report.state = RunState::kStopped;
  EXPECT_FALSE(report.summary().complete());
  EXPECT_EQ(report.summary().word(), "stopped");
  EXPECT_TRUE(report.summary().has_ended());
}

TEST(Report, every_state_is_counted_once) {
  RunReport report = sample_report(8);
  const ConsumerState all[] = {ConsumerState::kWaiting,  ConsumerState::kRunning,
                               ConsumerState::kOk,       ConsumerState::kFailed,
                               ConsumerState::kNotTried, ConsumerState::kUnknown,
                               ConsumerState::kGone,     ConsumerState::kMarked};
  for (size_t i = 0; i < 8; ++i) report.consumers[i].state = all[i];
  const ReportCounts counts = report.counts();
  for (const size_t count : {counts.waiting, counts.running, counts.ok, counts.failed,
                             counts.not_tried, counts.unknown, counts.gone, counts.marked}) {
    EXPECT_EQ(count, 1u);
  }
  EXPECT_EQ(counts.settled(), 6u);
  EXPECT_EQ(to_text(counts),
            "1 ok, 1 failed, 1 unknown, 1 not tried, 1 gone, 1 done by hand, 1 running, 1 waiting "
            "of 8 consumers");
}

TEST(Report, json_has_who_failed_where_and_why) {
  const auto json = to_json(sample_report(65, {50}));
  EXPECT_EQ(json["run"], "r7");
  EXPECT_EQ(json["state"], "in part");
  EXPECT_EQ(json["complete"], false);
  EXPECT_EQ(json["begun"], to_rfc3339(at_second(0)));
  EXPECT_EQ(json["ended"], to_rfc3339(at_second(130)));
  EXPECT_EQ(json["counts"]["ok"], 64);
  EXPECT_EQ(json["counts"]["failed"], 1);
  EXPECT_EQ(json["keys"][0]["id"], "orders");
  EXPECT_EQ(json["keys"][0]["version"], 3);
  ASSERT_EQ(json["consumers"].size(), 65u);
  EXPECT_EQ(json["consumers"][49]["consumer"], "app-50");
  EXPECT_EQ(json["consumers"][49]["host"], "host-1");
  EXPECT_EQ(json["consumers"][49]["state"], "failed");
  EXPECT_EQ(json["consumers"][49]["reason"], "exit status 1");
  EXPECT_EQ(json["consumers"][49]["keys"][0], "orders/3");
  EXPECT_TRUE(json["consumers"][0]["reason"].is_null());
  EXPECT_EQ(json["notify"], "sent");
}

TEST(Report, what_is_not_known_yet_is_null) {
  RunReport report;
  report.run = "r8";
  report.keys.push_back({"orders", RotatedKey::State::kWaiting, 0, 0, {}, ""});
  const auto json = to_json(report);
  EXPECT_EQ(json["state"], "waiting");
  EXPECT_TRUE(json["begun"].is_null());
  EXPECT_TRUE(json["ended"].is_null());
  EXPECT_TRUE(json["keys"][0]["version"].is_null());
  EXPECT_TRUE(json["stopped"].is_null());
}

TEST(Report, a_list_of_runs_has_what_the_design_names) {
  const auto json = to_json(sample_report(65, {50}).summary());
  for (const char* name : {"run", "state", "begun", "ended", "counts"}) {
    EXPECT_TRUE(json.contains(name)) << name;
  }
}

TEST(Report, text_begins_with_what_somebody_has_to_look_at) {
  RunReport report = sample_report(3, {2});
  report.not_heard_from = {"web-7", "web-9"};
  report.not_heard_from_more = 3;
  report.keys[0].missing = {"us-west-2"};
  report.keys[0].reason = "timed out after 2s";
  report.takeovers = {"host-2 -> host-1"};
  report.notify = NotifyState::kFailed;
  report.notify_reason = "hooks.example: HTTP 503 (3 tries)";
  EXPECT_EQ(to_text(report),
            "run r7: in part, 2 ok, 1 failed of 3 consumers, 5 hosts not heard from, 1 key not in "
            "every region\n"
            "begun 2027-01-15T08:00:00Z, ended 2027-01-15T08:02:10Z (2m10s), by host-1 (epoch 12)\n"
            "taken over: host-2 -> host-1\n"
            "\n"
            "KEY     VERSION  BEFORE  STATE    NOTE\n"
            "orders  3        2       current  missing in us-west-2: timed out after 2s\n"
            "\n"
            "CONSUMER  HOST    STATE   TOOK  REASON\n"
            "app-2     host-1  failed  1s    exit status 1\n"
            "app-1     host-1  ok      1s\n"
            "app-3     host-1  ok      1s\n"
            "\n"
            "not heard from: web-7, web-9 and 3 more\n"
            "\n"
            "notify: failed (hooks.example: HTTP 503 (3 tries))\n");
}

TEST(Report, text_tells_whole_why_a_key_is_overdue) {
  RunReport report = sample_report(0);
  report.keys[0].state = RotatedKey::State::kOverdue;
  report.keys[0].reason = std::string(900, 'x') + ": no such file";
  EXPECT_NE(to_text(report).find("is tried again: " + report.keys[0].reason + "\n"),
            std::string::npos)
      << to_text(report);
  report.keys[0].reason = std::string(1001, 'x');
  EXPECT_NE(to_text(report).find(std::string(1000, 'x') + "...\n"), std::string::npos);
}

TEST(Report, text_names_a_region_that_is_missing_once) {
  RunReport report = sample_report(0);
  report.keys[0].missing = {"b"};
  report.keys[0].reason = "b: it is not wrapped there";
  EXPECT_NE(to_text(report).find(" missing in b: it is not wrapped there\n"), std::string::npos)
      << to_text(report);
  report.keys[0].missing = {"b", "c"};
  EXPECT_NE(to_text(report).find(" missing in b, c: b: it is not wrapped there\n"),
            std::string::npos)
      << to_text(report);
}

TEST(Report, text_of_a_message_that_is_being_sent_says_how_to_learn_more) {
  RunReport report = sample_report(1);
  report.notify = NotifyState::kSending;
  EXPECT_NE(to_text(report).find("\nnotify: sending (whether it arrives is told later: keyfs "
                                 "rotation show r7)\n"),
            std::string::npos)
      << to_text(report);
}

TEST(Report, text_says_which_hosts_a_run_waits_for_still) {
  RunReport report = sample_report(0);
  report.not_heard_from = {"web-b"};
  EXPECT_NE(to_text(report).find("\nnot heard from: web-b\n"), std::string::npos);
  report.state = RunState::kEnrolling;
  EXPECT_NE(to_text(report).find("\nwaiting for: web-b\n"), std::string::npos);
}

TEST(Report, text_may_leave_out_those_that_are_well) {
  const std::string text = to_text(sample_report(65, {50}), {.every_consumer = false});
  EXPECT_NE(text.find("app-50"), std::string::npos);
  EXPECT_EQ(text.find("app-49"), std::string::npos);
  const std::string well = to_text(sample_report(65), {.every_consumer = false});
  EXPECT_EQ(well.find("CONSUMER"), std::string::npos) << well;
}

TEST(Report, text_from_others_is_safe_for_a_terminal) {
  RunReport report = sample_report(1, {1});
  report.consumers[0].consumer = "a\x1b[31m\nb";
  report.consumers[0].reason = "x\r\x1b]0;title\x07";
  report.stopped = "\x1b[5m";
  report.not_heard_from = {"h\n1"};
  const std::string text = to_text(report);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_NE(text.find("a?[31m?b"), std::string::npos);
  EXPECT_NE(text.find("h?1"), std::string::npos);
}

TEST(Report, a_long_text_is_cut_between_characters) {
  EXPECT_EQ(safe_text("abc", 3), "abc");
  EXPECT_EQ(safe_text("abcd", 3), "abc...");
  EXPECT_EQ(safe_text("ab\u00e9", 3), "ab...");  // its two bytes are 3 and 4
}

}  // namespace
}  // namespace keyfs
