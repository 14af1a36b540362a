#include "fs/cli/rotation_wait.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "fs/cli/fake_runs.h"
#include "fs/cli/rotation_watch.h"
#include "fs/rotation/sample_report.h"
#include "support/fake_time.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::sample_report;
using End = TicketEnd::End;
using Fate = TicketFate::State;

TicketFate in_run(const std::string& run, RotatedKey::State key = RotatedKey::State::kCurrent) {
  TicketFate fate;
  fate.state = Fate::kInRun;
  fate.run = run;
  fate.key = key;
  return fate;
}

TicketFate overdue(const std::string& why) {
  TicketFate fate;
  fate.state = Fate::kOverdue;
  fate.why = why;
  return fate;
}

class WaitForRuns : public ::testing::Test {
 protected:
  WaitForRuns() {
    runs_.fate = [this](const std::string& token) {
      const auto found = fates_.find(token);
      return found == fates_.end() ? TicketFate() : found->second;
    };
  }
  RunsWaitedFor wait(const std::vector<std::string>& tokens) {
    Output output(out_, err_, false);
    const RotationDesk parts{
        time_.loop,
        runs_,
        10s,
        "alice",
        2min,
        std::nullopt,
        [this](const std::vector<std::string>&, const char*) { return sees_; }};
    const TimePoint begin = time_.loop.now();
    auto waited = wait_for_runs(tokens, parts, output);
    took_ = time_.loop.now() - begin;
    return waited;
  }
  RunReport ended(const std::string& run, const std::set<int>& failed = {}) {
    RunReport report = sample_report(3, failed);
    report.run = run;
    return report;
  }
  void after(Duration time, std::function<void()> act) {
    time_.loop.spawn([](Loop& loop, Duration pause, std::function<void()> then) -> Task<void> {
      co_await loop.sleep_for(pause);
      then();
    }(time_.loop, time, std::move(act)));
  }
  bool said(const std::string& text) const { return out_.str().find(text) != std::string::npos; }

  testing::FakeTimeLoop time_;
  testing::FakeRuns runs_{time_.loop};
  std::map<std::string, TicketFate> fates_;
  std::ostringstream out_;
  std::ostringstream err_;
  bool sees_ = true;
  Duration took_{};
};

TEST_F(WaitForRuns, lasts_until_the_run_that_took_the_ticket_has_ended) {
  after(30s, [&] {
    runs_.runs = {ended("r7")};
    runs_.runs[0].state = RunState::kTelling;
    fates_["t"] = in_run("r7");
  });
  after(100s, [&] { runs_.runs[0].state = RunState::kEnded; });
  const auto waited = wait({"t"});
  ASSERT_EQ(waited.ends.size(), 1u);
  EXPECT_EQ(waited.ends[0].end, End::kTold);
  EXPECT_EQ(waited.ends[0].run, "r7");
  ASSERT_EQ(waited.runs.size(), 1u);
  EXPECT_GE(took_, 100s);
  EXPECT_LE(took_, 115s);
  EXPECT_TRUE(said("waiting for a host to run it\n")) << out_.str();
}

TEST_F(WaitForRuns, says_that_further_changes_are_collected_and_for_how_long) {
  runs_.next.settle = 30s;
  after(32s, [&] {
    runs_.runs = {ended("r7")};
    fates_["t"] = in_run("r7");
  });
  EXPECT_EQ(wait({"t"}).ends[0].end, End::kTold);
  EXPECT_TRUE(said("collecting further changes until none comes for 30s (settle), at most 5m\n"))
      << out_.str();
  EXPECT_FALSE(said("waiting for a host")) << out_.str();
}

TEST_F(WaitForRuns, says_that_another_run_has_to_end_first) {
  runs_.next = {true, 30s};
  after(10s, [&] { runs_.next.under_way = false; });
  after(42s, [&] {
    runs_.runs = {ended("r7")};
    fates_["t"] = in_run("r7");
  });
  EXPECT_EQ(wait({"t"}).ends[0].end, End::kTold);
  EXPECT_EQ(out_.str().find("waiting for the run before it to end\ncollecting further changes"), 0u)
      << out_.str();
}

TEST_F(WaitForRuns, says_nothing_of_what_a_holder_that_is_silent_collects) {
  runs_.next.settle = 30s;
  runs_.alive = false;
  EXPECT_EQ(wait({"t"}).ends[0].end, End::kUnknown);
  const size_t collects = out_.str().find("collecting further changes");
  ASSERT_NE(collects, std::string::npos) << "as far as is known by then";
  EXPECT_NE(out_.str().find("waiting for a host to run it\n", collects), std::string::npos)
      << out_.str();
}

TEST_F(WaitForRuns, of_several_tickets_in_several_runs_lasts_until_the_last) {
  runs_.runs = {ended("r7", {2}), ended("r8")};
  fates_ = {{"a", in_run("r7")}, {"b", in_run("r8")}};
  after(20s, [&] { fates_["c"] = in_run("r8", RotatedKey::State::kRefused); });
  const auto waited = wait({"a", "b", "c"});
  EXPECT_EQ(waited.ends[0].end, End::kInPart);
  EXPECT_EQ(waited.ends[1].end, End::kTold);
  EXPECT_EQ(waited.ends[2].end, End::kRefused);
  ASSERT_EQ(waited.runs.size(), 2u);
  EXPECT_EQ(waited.runs[0].run, "r7");
  EXPECT_GE(took_, 20s);
}

TEST_F(WaitForRuns, does_not_last_until_what_is_overdue_can_be_done) {
  fates_ = {{"a", overdue("two regions are out")}};
  const auto waited = wait({"a"});
  EXPECT_EQ(waited.ends[0].end, End::kOverdue);
  EXPECT_EQ(waited.ends[0].why, "two regions are out");
  EXPECT_LE(took_, 1s);
}

TEST_F(WaitForRuns, ends_soon_where_no_host_has_ever_run_rotations) {
  runs_.never_held();
  const auto waited = wait({"a", "b"});
  for (const TicketEnd& end : waited.ends) {
    EXPECT_EQ(end.end, End::kUnknown);
    EXPECT_NE(end.why.find("no host runs rotations: "), std::string::npos) << end.why;
  }
  EXPECT_LE(took_, 2 * HolderWatch::kNobody);
}

TEST_F(WaitForRuns, gives_another_host_the_time_to_take_over_and_ends_where_none_does) {
  runs_.alive = false;
  const auto waited = wait({"a"});
  EXPECT_EQ(waited.ends[0].end, End::kUnknown);
  EXPECT_NE(waited.ends[0].why.find("the last was host-1"), std::string::npos);
  EXPECT_GE(took_, 2min);
  EXPECT_LE(took_, 3min);
}

TEST_F(WaitForRuns, ends_when_the_holder_dies_within_the_run_and_nobody_goes_on) {
  runs_.runs = {ended("r7")};
  runs_.runs[0].state = RunState::kTelling;
  fates_["t"] = in_run("r7");
  after(30s, [&] { runs_.alive = false; });
  const auto waited = wait({"t"});
  EXPECT_EQ(waited.ends[0].end, End::kUnknown);
  EXPECT_NE(waited.ends[0].why.find("run r7: no host runs rotations any more"), std::string::npos)
      << waited.ends[0].why;
  EXPECT_LE(took_, 4min);
}

TEST_F(WaitForRuns, goes_on_while_the_board_is_silent_for_a_moment) {
  runs_.runs = {ended("r7")};
  fates_["t"] = in_run("r7");
  runs_.error = Error(Code::kUnavailable, "etcd is out");
  after(40s, [&] { runs_.error.reset(); });
  EXPECT_EQ(wait({"t"}).ends[0].end, End::kTold);
}

TEST_F(WaitForRuns, ends_when_the_board_stays_silent) {
  runs_.error = Error(Code::kUnavailable, "etcd is out");
  const auto waited = wait({"t"});
  EXPECT_EQ(waited.ends[0].end, End::kUnknown);
  EXPECT_NE(waited.ends[0].why.find("etcd is out"), std::string::npos);
  EXPECT_GE(took_, RotationWatch::kSilence);
  EXPECT_LE(took_, 2 * RotationWatch::kSilence);
}

TEST_F(WaitForRuns, ends_when_the_ticket_was_taken_away) {
  fates_["t"].state = Fate::kGone;
  EXPECT_EQ(wait({"t"}).ends[0].end, End::kUnknown);
}

TEST_F(WaitForRuns, shows_nothing_of_a_run_with_keys_of_others) {
  sees_ = false;
  runs_.runs = {ended("r7", {1})};
  runs_.runs[0].state = RunState::kTelling;
  fates_["t"] = in_run("r7");
  after(10s, [&] { runs_.runs[0].state = RunState::kEnded; });
  const auto waited = wait({"t"});
  EXPECT_EQ(waited.ends[0].end, End::kInPart);
  EXPECT_TRUE(waited.runs.empty());
  EXPECT_EQ(out_.str(), "");
}

}  // namespace
}  // namespace keyfs
