#include "fs/daemon/rotation_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace keyfs {
namespace {

using ::testing::HasSubstr;

RotationStatus overdue_here() {
  RotationStatus status;
  status.host = status.holder = "web-1";
  status.is_holder = true;
  status.board.state = BoardHealth::State::kThere;
  status.board.errors = 4;
  status.hooks = 3;
  status.outcomes = {{RefreshOutcome::What::kOk, 2}, {RefreshOutcome::What::kFailed, 1}};
  status.ended = {{RunDocument::End::kInPart, 1}};
  status.consumers.consumers = 7;
  status.consumers.missed = 5;
  status.overdue_tickets.emplace();
  for (int i = 0; i < 12; ++i) {
    Ticket ticket;
    ticket.id = "orders-" + std::to_string(i);
    ticket.overdue_why = "wrapped in 1 of 2 required regions";
    status.overdue_tickets->push_back(ticket);
  }
  status.overdue = status.overdue_tickets->size();
  return status;
}

TEST(RotationFile, is_json_of_what_is_known_now) {
  RotationStatus status = overdue_here();
  const auto file = make_rotation_file([&] { return status; },
                                       [] {
                                         SeenConsumer consumer;
                                         consumer.who.executable = "/usr/bin/\xff";  // no UTF-8
                                         return std::vector<SeenConsumer>{consumer};
                                       });
  EXPECT_EQ(file->name(), "rotation");
  const std::string text = file->render();
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(nlohmann::json::parse(text)["holder"], "web-1");
  status.holder = "web-2";
  EXPECT_EQ(nlohmann::json::parse(file->render())["holder"], "web-2");
}

TEST(RotationBrief, names_the_first_keys_that_are_overdue_and_why) {
  const RotationBrief brief = rotation_brief(overdue_here());
  EXPECT_EQ(brief.overdue, 12u);
  ASSERT_EQ(brief.overdue_keys.size(), 10u);
  EXPECT_EQ(brief.overdue_keys.front(), "orders-0");
  EXPECT_EQ(brief.overdue_reason, "wrapped in 1 of 2 required regions");
  EXPECT_EQ(brief.board, "there");
  EXPECT_TRUE(brief.is_holder);
}

TEST(RotationMetrics, are_there_from_the_beginning_and_follow_the_status) {
  Metrics metrics;
  RotationMetrics mine(metrics);
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_rotation_runs_total{end=\"complete\"} 0\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_rotation_consumers_total{outcome=\"failed\"} 0\n"));
  mine.sample(overdue_here());
  const std::string text = metrics.text();
  for (const char* line :
       {"keyfs_rotation_runs_total{end=\"in_part\"} 1\n", "keyfs_rotation_overdue_keys 12\n",
        "keyfs_rotation_consumers_total{outcome=\"ok\"} 2\n", "keyfs_rotation_hooks_total 3\n",
        "keyfs_rotation_consumers_total{outcome=\"failed\"} 1\n", "keyfs_rotation_is_holder 1\n",
        "keyfs_rotation_board_errors_total 4\n", "keyfs_rotation_known_consumers 7\n",
        "keyfs_rotation_openings_missed_total 5\n", "keyfs_rotation_board_up 1\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  mine.sample(RotationStatus());
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_rotation_overdue_keys 0\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_rotation_hooks_total 3\n"));
}

}  // namespace
}  // namespace keyfs
