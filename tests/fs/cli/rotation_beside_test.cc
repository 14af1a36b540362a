// keyfs rotation show without a run: what there is beside the newest one.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "fs/cli/fake_runs.h"
#include "fs/cli/rotation.h"
#include "fs/rotation/sample_report.h"
#include "support/fake_time.h"

namespace keyfs {
namespace {

using testing::sample_report;

class BesideTheNewestRun : public ::testing::Test {
 protected:
  ExitCode show(const std::function<void(RotationArguments&)>& set = nullptr) {
    RotationArguments arguments;
    arguments.verb = RotationArguments::Verb::kShow;
    if (set) set(arguments);
    out_.str("");
    err_.str("");
    Output output(out_, err_, json_);
    const RotationDesk parts{time_.loop,
                             runs_,
                             std::chrono::seconds(10),
                             "alice",
                             std::chrono::minutes(2),
                             std::nullopt,
                             [](const std::vector<std::string>& keys, const char*) {
                               return keys != std::vector<std::string>{"secret"};
                             }};
    return rotation(arguments, parts, output);
  }
  nlohmann::json document() const { return nlohmann::json::parse(out_.str()); }
  bool said(const std::string& text) const { return out_.str().find(text) != std::string::npos; }
  bool complained(const std::string& text) const {
    return err_.str().find(text) != std::string::npos;
  }

  testing::FakeTimeLoop time_;
  testing::FakeRuns runs_{time_.loop};
  std::ostringstream out_;
  std::ostringstream err_;
  bool json_ = false;
};

TEST_F(BesideTheNewestRun, show_without_a_run_names_newer_ones_that_are_damaged_and_ends_with_3) {
  runs_.runs = {sample_report(1)};
  runs_.runs[0].run = "run-00000006";
  runs_.damaged = {"run-00000002", "run-00000007"};
  EXPECT_EQ(show(), ExitCode::kPartial);
  EXPECT_TRUE(said("run run-00000006: complete")) << out_.str();
  EXPECT_TRUE(complained("newer, damaged on the board, and not shown: run-00000007 ("))
      << err_.str();
  EXPECT_EQ(show([](auto& arguments) { arguments.watch = true; }), ExitCode::kPartial);
  EXPECT_TRUE(complained("run-00000007")) << err_.str();
  json_ = true;
  EXPECT_EQ(show(), ExitCode::kPartial);
  EXPECT_EQ(document()["damaged"], nlohmann::json::array({"run-00000007"}));
  json_ = false;
  EXPECT_EQ(show([](auto& arguments) { arguments.run = "run-00000006"; }), ExitCode::kDone);
  EXPECT_EQ(err_.str(), "");
  // There is none that can be shown.
  runs_.runs.clear();
  EXPECT_EQ(show(), ExitCode::kPartial);
  EXPECT_TRUE(complained("not shown: run-00000002, run-00000007 (")) << err_.str();
}

TEST_F(BesideTheNewestRun, show_without_a_run_says_that_another_was_asked_for_and_when_it_begins) {
  runs_.tickets = 2;  // of one key
  runs_.next.settle = std::chrono::seconds(30);
  EXPECT_EQ(show(), ExitCode::kDone) << err_.str();
  EXPECT_EQ(
      out_.str(),
      "no run can be shown yet\nanother run was asked for (orders), and begins once no further "
      "change has come for 30s (settle), after 5m at most\n");
  runs_.runs = {sample_report(1)};
  EXPECT_EQ(show(), ExitCode::kDone);
  EXPECT_TRUE(said("run r7: complete")) << out_.str();
  EXPECT_TRUE(said("\n\nanother run was asked for (orders), and begins once no")) << out_.str();
  json_ = true;
  EXPECT_EQ(show(), ExitCode::kDone);
  EXPECT_EQ(document()["waiting"], nlohmann::json::array({"orders"}));
  json_ = false;
  runs_.next.under_way = true;
  EXPECT_EQ(show(), ExitCode::kDone);
  EXPECT_TRUE(said("and begins once the run before it has ended\n")) << out_.str();
  // The run that takes it is begun.
  runs_.runs[0].state = RunState::kRotating;
  EXPECT_EQ(show(), ExitCode::kDone);
  EXPECT_FALSE(said("another run")) << out_.str();
  // By a run's name only that run is shown.
  runs_.runs[0].state = RunState::kEnded;
  EXPECT_EQ(show([](auto& arguments) { arguments.run = "r7"; }), ExitCode::kDone);
  EXPECT_FALSE(said("another run")) << out_.str();
}

TEST_F(BesideTheNewestRun, show_says_of_another_run_that_no_host_can_begin_it) {
  runs_.runs = {sample_report(1)};
  runs_.tickets = 1;
  runs_.never_held();
  EXPECT_EQ(show(), ExitCode::kDone);
  EXPECT_TRUE(said("begins once keyfs is mounted on a host that runs rotations\n")) << out_.str();
  runs_.damaged_lock = true;
  EXPECT_EQ(show(), ExitCode::kPartial);
  EXPECT_TRUE(said("another run was asked for (orders)\n")) << out_.str();
  EXPECT_TRUE(complained("DAMAGED ON THE BOARD: run/head: ")) << err_.str();
}

TEST_F(BesideTheNewestRun, show_leaves_out_changes_that_the_caller_may_not_see) {
  runs_.tickets = 1;
  runs_.ticket_of = "secret";
  EXPECT_EQ(show(), ExitCode::kFailed);
  EXPECT_EQ(out_.str(), "");
  EXPECT_TRUE(complained("there was no run yet")) << err_.str();
}

}  // namespace
}  // namespace keyfs
