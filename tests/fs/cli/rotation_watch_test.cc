#include "fs/cli/rotation_watch.h"

#include <gtest/gtest.h>

#include "fs/rotation/sample_report.h"

namespace keyfs {
namespace {

using testing::sample_report;

TEST(ProgressBar, fits_into_its_line_however_narrow) {
  RunReport report = sample_report(65, {50});
  report.state = RunState::kTelling;
  report.consumers[64].state = ConsumerState::kRunning;
  for (size_t columns = 0; columns <= 200; ++columns) {
    EXPECT_LE(progress_bar(report, columns).size(), columns == 0 ? 0 : columns - 1);
  }
  EXPECT_EQ(progress_bar(report, 80),
            "[=======================>] 64/65, 1 failed: app-65 on host-1");
  report.consumers[64].state = ConsumerState::kOk;
  EXPECT_EQ(progress_bar(report, 80), "[========================] 65/65, 1 failed");
}

TEST(ProgressBar, says_what_a_run_without_consumers_does) {
  RunReport report = sample_report(0);
  report.state = RunState::kWaiting;
  EXPECT_EQ(progress_bar(report, 80), "waiting for a host to run it");
  report.state = RunState::kRotating;
  EXPECT_EQ(progress_bar(report, 80), "making sure that the new version of 1 key is current");
  report.keys.resize(6);
  EXPECT_EQ(progress_bar(report, 80), "making sure that the new versions of 6 keys are current");
}

TEST(ProgressBar, names_the_hosts_that_a_run_waits_for) {
  RunReport report = sample_report(5);
  report.state = RunState::kEnrolling;
  EXPECT_EQ(progress_bar(report, 80), "hosts say which consumers they have: 5 up to now");
  report.not_heard_from = {"web-b"};
  EXPECT_EQ(progress_bar(report, 80), "waiting for web-b, up to 90 s: 5 consumers up to now");
  report.not_heard_from = {"a", "b", "c\x1b[2J", "d"};
  report.not_heard_from_more = 10;
  EXPECT_EQ(progress_bar(report, 80),
            "waiting for a, b, c?[2J and 11 more, up to 90 s: 5 consumers up to now");
}

TEST(ProgressBar, names_from_others_do_not_steer_the_terminal) {
  RunReport report = sample_report(2);
  report.state = RunState::kTelling;
  report.consumers[1].state = ConsumerState::kRunning;
  report.consumers[1].consumer = "a\x1b[2J\nb";
  EXPECT_EQ(progress_bar(report, 120).find('\x1b'), std::string::npos);
  EXPECT_EQ(progress_bar(report, 120).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace keyfs
