#include "fs/cli/rotation.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "fs/cli/fake_runs.h"
#include "fs/cli/rotation_watch.h"
#include "fs/rotation/sample_report.h"
#include "support/fake_time.h"

namespace keyfs {
namespace {

using testing::FakeRuns;
using testing::sample_report;
using Verb = RotationArguments::Verb;

ConsumerReport consumer_on(const std::string& host, ConsumerState state) {
  ConsumerReport consumer;
  consumer.consumer = "app-50";
  consumer.host = host;
  consumer.state = state;
  return consumer;
}

class RotationCommand : public ::testing::Test {
 protected:
  ExitCode run(Verb verb, const std::function<void(RotationArguments&)>& set = nullptr) {
    RotationArguments arguments;
    arguments.verb = verb;
    if (verb != Verb::kList && verb != Verb::kShow) arguments.run = "r7";
    if (set) set(arguments);
    out_.str("");
    err_.str("");
    Output output(out_, err_, json_);
    const RotationDesk parts{time_.loop,
                             runs_,
                             std::chrono::seconds(10),
                             "alice",
                             std::chrono::minutes(2),
                             columns_,
                             [this](const std::vector<std::string>& keys, const char* verb) {
                               const bool may = keys != std::vector<std::string>{"secret"};
                               if (!may && verb != nullptr) err_ << "may not " << verb << '\n';
                               return may;
                             }};
    return rotation(arguments, parts, output);
  }
  nlohmann::json document() const { return nlohmann::json::parse(out_.str()); }
  bool said(const std::string& text) const { return out_.str().find(text) != std::string::npos; }
  bool complained(const std::string& text) const {
    return err_.str().find(text) != std::string::npos;
  }
  // A run of so many consumers of which one more is over at each look, number 50 failing.
  void let_it_run(int consumers) {
    RunReport report = sample_report(consumers);
    report.state = RunState::kTelling;
    report.ended.reset();
    for (auto& consumer : report.consumers) consumer.state = ConsumerState::kWaiting;
    runs_.runs = {report};
    runs_.on_look = [](RunReport& now) {
      for (size_t i = 0; i < now.consumers.size(); ++i) {
        auto& consumer = now.consumers[i];
        if (consumer.state == ConsumerState::kWaiting) {
          consumer.state = ConsumerState::kRunning;
          return;
        }
        if (consumer.state == ConsumerState::kRunning) {
          const bool fails = consumer.consumer == "app-50";
          consumer.state = fails ? ConsumerState::kFailed : ConsumerState::kOk;
          consumer.reason = fails ? "exit status 1" : "";
          if (i + 1 == now.consumers.size()) now.state = RunState::kEnded;
          return;
        }
      }
    };
  }

  testing::FakeTimeLoop time_;
  FakeRuns runs_{time_.loop};
  std::ostringstream out_;
  std::ostringstream err_;
  bool json_ = false;
  std::optional<size_t> columns_;
};

TEST_F(RotationCommand, list_shows_the_newest_first_and_no_more_than_asked_for) {
  for (int i = 1; i <= 250; ++i) {
    runs_.runs.push_back(sample_report(1));
    runs_.runs.back().run = "run-" + std::to_string(i);
  }
  json_ = true;
  EXPECT_EQ(run(Verb::kList), ExitCode::kDone);
  ASSERT_EQ(document()["runs"].size(), 20u);
  EXPECT_EQ(document()["runs"][0]["run"], "run-250");
  EXPECT_EQ(document()["runs"][0]["counts"]["ok"], 1);
  EXPECT_EQ(run(Verb::kList, [](auto& arguments) { arguments.limit = 1000; }), ExitCode::kDone);
  EXPECT_EQ(document()["runs"].size(), 250u);
  EXPECT_EQ(document()["runs"][249]["run"], "run-1");
}

TEST_F(RotationCommand, list_leaves_out_what_the_caller_may_not_see) {
  runs_.runs = {sample_report(1), sample_report(1)};
  runs_.runs[0].keys[0].id = "secret";
  json_ = true;
  EXPECT_EQ(run(Verb::kList), ExitCode::kDone);
  ASSERT_EQ(document()["runs"].size(), 1u);
  EXPECT_EQ(document()["runs"][0]["keys"][0], "orders");
}

TEST_F(RotationCommand, a_list_of_none_is_no_failure) {
  EXPECT_EQ(run(Verb::kList), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "no runs\n");
}

TEST_F(RotationCommand, show_ends_with_3_when_a_consumer_failed_and_names_it) {
  runs_.runs = {sample_report(65, {50})};
  EXPECT_EQ(run(Verb::kShow), ExitCode::kPartial);
  EXPECT_TRUE(said("app-50")) << out_.str();
  EXPECT_TRUE(said("exit status 1")) << out_.str();
  EXPECT_FALSE(said("app-49")) << out_.str();
  EXPECT_EQ(run(Verb::kShow, [](auto& arguments) { arguments.all = true; }), ExitCode::kPartial);
  EXPECT_TRUE(said("app-49")) << out_.str();
}

TEST_F(RotationCommand, show_ends_with_0_when_the_run_is_complete_or_goes_on) {
  runs_.runs = {sample_report(65)};
  EXPECT_EQ(run(Verb::kShow), ExitCode::kDone);
  runs_.runs = {sample_report(65, {50})};
  runs_.runs[0].state = RunState::kTelling;
  EXPECT_EQ(run(Verb::kShow), ExitCode::kDone);
}

TEST_F(RotationCommand, show_in_json_is_the_whole_report) {
  runs_.runs = {sample_report(65, {50})};
  json_ = true;
  EXPECT_EQ(run(Verb::kShow), ExitCode::kPartial);
  EXPECT_EQ(document()["consumers"].size(), 65u);
  EXPECT_EQ(document()["state"], "in part");
}

TEST_F(RotationCommand, show_without_a_run_is_of_the_newest) {
  runs_.runs = {sample_report(1), sample_report(1)};
  runs_.runs[1].run = "r8";
  EXPECT_EQ(run(Verb::kShow), ExitCode::kDone);
  EXPECT_TRUE(said("run r8: ")) << out_.str();
}

TEST_F(RotationCommand, a_run_that_is_not_there_is_a_failure) {
  EXPECT_EQ(run(Verb::kShow), ExitCode::kFailed);
  EXPECT_TRUE(complained("there was no run yet")) << err_.str();
  for (const Verb verb : {Verb::kRetry, Verb::kDone, Verb::kStop}) {
    EXPECT_EQ(run(verb), ExitCode::kFailed);
    EXPECT_TRUE(complained("there is no run r7")) << err_.str();
  }
  EXPECT_TRUE(runs_.asked.empty());
}

TEST_F(RotationCommand, whoever_may_not_steer_a_run_does_not) {
  runs_.runs = {sample_report(1, {1})};
  runs_.runs[0].keys[0].id = "secret";
  for (const Verb verb : {Verb::kShow, Verb::kRetry, Verb::kDone, Verb::kStop}) {
    EXPECT_EQ(run(verb), ExitCode::kFailed);
    EXPECT_EQ(out_.str(), "");
    EXPECT_TRUE(complained("may not ")) << err_.str();
  }
  EXPECT_TRUE(runs_.asked.empty());
}

TEST_F(RotationCommand, a_store_that_is_out_is_a_failure_with_its_reason) {
  runs_.error = Error(Code::kUnavailable, "etcd is out");
  for (const Verb verb : {Verb::kList, Verb::kShow, Verb::kRetry, Verb::kDone, Verb::kStop}) {
    EXPECT_EQ(run(verb), ExitCode::kFailed);
    EXPECT_TRUE(complained("etcd is out")) << err_.str();
  }
}

TEST_F(RotationCommand, retry_says_how_many_are_told_again) {
  runs_.runs = {sample_report(65, {50})};
  EXPECT_EQ(run(Verb::kRetry), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "1 consumer will be told again\n");
  EXPECT_EQ(runs_.asked, (std::vector<std::string>{"retry r7 by alice"}));
}

TEST_F(RotationCommand, retry_of_a_run_in_which_nothing_failed_does_nothing_and_is_well) {
  runs_.runs = {sample_report(65)};
  runs_.change = {RunChange::Outcome::kNothing, "r7", 0};
  EXPECT_EQ(run(Verb::kRetry), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "nothing in run r7 is to be done again\n");
}

TEST_F(RotationCommand, retry_of_a_run_that_goes_on_is_refused) {
  runs_.runs = {sample_report(65, {50})};
  runs_.change = {RunChange::Outcome::kUnderWay, "r7", 0};
  EXPECT_EQ(run(Verb::kRetry), ExitCode::kFailed);
  EXPECT_TRUE(complained("has not ended yet")) << err_.str();
  json_ = true;
  EXPECT_EQ(run(Verb::kRetry), ExitCode::kFailed);
  EXPECT_EQ(document()["outcome"], "under way");
}

TEST_F(RotationCommand, done_names_whom_it_marked) {
  runs_.runs = {sample_report(65, {50})};
  EXPECT_EQ(run(Verb::kDone, [](auto& arguments) { arguments.consumer = "app-50"; }),
            ExitCode::kDone);
  EXPECT_EQ(out_.str(), "app-50 is marked as done\n");
  EXPECT_EQ(run(Verb::kDone, [](auto& arguments) { arguments.host = "web-7"; }), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "host web-7 is marked as done\n");
  EXPECT_EQ(runs_.asked, (std::vector<std::string>{"done r7 [app-50] [] by alice",
                                                   "done r7 [] [web-7] by alice"}));
  runs_.change = {RunChange::Outcome::kUnknown, "r7", 0};
  EXPECT_EQ(run(Verb::kDone, [](auto& arguments) { arguments.consumer = "app-99"; }),
            ExitCode::kFailed);
  EXPECT_TRUE(complained("run r7 has no consumer app-99: keyfs rotation show --all r7"))
      << err_.str();
}

TEST_F(RotationCommand, done_of_another_host_names_those_that_there_are) {
  runs_.runs = {sample_report(8, {5})};
  for (size_t i = 0; i < 7; ++i) {
    runs_.runs[0].consumers[i].consumer = "app";
    runs_.runs[0].consumers[i].host = "vm~" + std::to_string(i);
  }
  runs_.runs[0].consumers[7].host = "db\x1b[2J";
  runs_.change = {RunChange::Outcome::kUnknown, "r7", 0};
  const auto done = [&](const std::string& consumer, const std::string& host) {
    EXPECT_EQ(run(Verb::kDone,
                  [&](auto& arguments) {
                    arguments.consumer = consumer;
                    arguments.host = host;
                  }),
              ExitCode::kFailed);
  };
  done("app", "web-7");
  EXPECT_TRUE(
      complained("run r7 has no consumer app on web-7: it is on vm~0, vm~1, vm~2, vm~3, "
                 "vm~4 and 2 more\n"))
      << err_.str();
  done("app-8", "web-7");
  EXPECT_TRUE(complained("it is on db?[2J\n")) << err_.str();
  runs_.runs[0].consumers.resize(2);
  runs_.runs[0].not_heard_from = {"web-9"};
  done("", "web-7");
  EXPECT_TRUE(complained("run r7 does not wait for host web-7: its hosts are vm~0, vm~1, web-9\n"))
      << err_.str();
}

TEST_F(RotationCommand, list_names_damaged_runs_and_shows_the_others) {
  runs_.runs = {sample_report(65)};
  runs_.damaged = {"run-00000008"};
  EXPECT_EQ(run(Verb::kList), ExitCode::kPartial);
  EXPECT_TRUE(complained("damaged on the board, and not shown: run-00000008")) << err_.str();
  EXPECT_NE(out_.str().find("r7"), std::string::npos);
  json_ = true;
  EXPECT_EQ(run(Verb::kList), ExitCode::kPartial);
  EXPECT_EQ(document()["damaged"][0], "run-00000008");
  EXPECT_EQ(document()["runs"].size(), 1u);
}

TEST_F(RotationCommand, done_of_what_is_under_way_or_was_heard_from_is_refused) {
  runs_.runs = {sample_report(65, {50})};
  runs_.change = {RunChange::Outcome::kUnderWay, "r7", 0};
  runs_.change.not_marked = {consumer_on("web-2", ConsumerState::kRunning)};
  EXPECT_EQ(run(Verb::kDone, [](auto& arguments) { arguments.consumer = "app-50"; }),
            ExitCode::kFailed);
  EXPECT_TRUE(
      complained("run r7 is still under way with app-50: nothing was marked: app-50 on "
                 "web-2 (is being told); the same command again once that is over"))
      << err_.str();
  EXPECT_EQ(out_.str(), "");
  runs_.change = {RunChange::Outcome::kHeard, "r7", 0};
  EXPECT_EQ(run(Verb::kDone, [](auto& arguments) { arguments.host = "web-1"; }), ExitCode::kFailed);
  EXPECT_TRUE(complained("host web-1 was heard from in run r7: nothing was marked")) << err_.str();
  EXPECT_EQ(out_.str(), "");
}

TEST_F(RotationCommand, done_that_could_not_mark_all_that_it_meant_names_both_and_ends_with_3) {
  runs_.runs = {sample_report(65, {50})};
  runs_.change = {RunChange::Outcome::kDone, "r7", 1};
  runs_.change.marked = {consumer_on("web-1", ConsumerState::kMarked)};
  runs_.change.not_marked = {consumer_on("web-2", ConsumerState::kRunning),
                             consumer_on("web-3\x1b[2J", ConsumerState::kWaiting)};
  const auto mark = [&] {
    return run(Verb::kDone, [](auto& arguments) { arguments.consumer = "app-50"; });
  };
  EXPECT_EQ(mark(), ExitCode::kPartial);
  EXPECT_EQ(out_.str(), "app-50 is marked as done on web-1\n");
  EXPECT_TRUE(
      complained("not marked: app-50 on web-2 (is being told), app-50 on web-3?[2J (waits "
                 "for its turn); the same command again once that is over (keyfs rotation "
                 "show --watch r7 follows it)"))
      << err_.str();
  json_ = true;
  EXPECT_EQ(mark(), ExitCode::kPartial);
  EXPECT_EQ(document()["outcome"], "in part");
  ASSERT_EQ(document()["not_marked"].size(), 2u);
  EXPECT_EQ(document()["not_marked"][0]["host"], "web-2");
  EXPECT_EQ(document()["not_marked"][0]["state"], "running");
  json_ = false;
  // One that failed while the others were marked.
  runs_.change.not_marked = {consumer_on("web-2", ConsumerState::kFailed)};
  EXPECT_EQ(mark(), ExitCode::kPartial);
  EXPECT_TRUE(complained("app-50 on web-2 (failed meanwhile); the same command again\n"))
      << err_.str();
  runs_.change.not_marked.clear();
  EXPECT_EQ(mark(), ExitCode::kDone);
  EXPECT_EQ(err_.str(), "");
}

TEST_F(RotationCommand, stop_of_a_run_that_has_ended_is_no_failure) {
  runs_.runs = {sample_report(65)};
  EXPECT_EQ(run(Verb::kStop), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "run r7 tells no further consumers\n");
  runs_.change = {RunChange::Outcome::kNothing, "r7", 0};
  EXPECT_EQ(run(Verb::kStop), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "run r7 has ended already\n");
}

void watching(RotationArguments& arguments) { arguments.watch = true; }

TEST_F(RotationCommand, watch_tells_each_consumer_once_and_ends_as_the_run_does) {
  let_it_run(65);
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  for (int i = 1; i <= 65; ++i) {
    const std::string line =
        "app-" + std::to_string(i) + " on host-1: " + (i == 50 ? "failed: exit status 1" : "ok");
    const size_t first = out_.str().find(line + "\n");
    ASSERT_NE(first, std::string::npos) << line;
    EXPECT_EQ(out_.str().find("\n" + line + "\n", first), std::string::npos) << line;
  }
  EXPECT_TRUE(said("run r7: in part, 64 ok, 1 failed of 65 consumers")) << out_.str();
  EXPECT_EQ(out_.str().find('\r'), std::string::npos);
}

TEST_F(RotationCommand, watch_in_json_is_one_document_at_the_end) {
  let_it_run(3);
  json_ = true;
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kDone);
  EXPECT_EQ(document()["state"], "complete");
}

TEST_F(RotationCommand, watch_on_a_terminal_is_a_bar_in_one_line_and_leaves_the_report) {
  let_it_run(65);
  columns_ = 80;
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  EXPECT_TRUE(said("/65")) << out_.str();
  EXPECT_TRUE(said("app-50 on host-1: failed: exit status 1\n")) << out_.str();
  EXPECT_FALSE(said("app-49 on host-1: ok\n")) << out_.str();
  // The bar is gone when the report comes.
  EXPECT_TRUE(said("\r\x1b[Krun r7: in part")) << out_.str();
}

TEST_F(RotationCommand, watch_goes_on_while_the_store_is_out_for_a_moment) {
  let_it_run(3);
  int looks = 0;
  const auto step = runs_.on_look;
  // The error of one look is gone at the next, a second later.
  runs_.on_look = [&, step](RunReport& now) {
    step(now);
    if (++looks != 3) return;
    runs_.error = Error(Code::kUnavailable, "etcd is out");
    time_.loop.spawn([](FakeRuns& runs, Loop& loop) -> Task<void> {
      co_await loop.sleep_for(std::chrono::seconds(20));
      runs.error.reset();
    }(runs_, time_.loop));
  };
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kDone) << err_.str();
}

TEST_F(RotationCommand, watch_gives_up_on_a_store_that_stays_out) {
  let_it_run(3);
  runs_.on_look = [&](RunReport&) { runs_.error = Error(Code::kUnavailable, "etcd is out"); };
  const TimePoint begin = time_.loop.now();
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kFailed);
  EXPECT_TRUE(complained("run r7 can't be followed any more, and may go on")) << err_.str();
  EXPECT_TRUE(complained("etcd is out")) << err_.str();
  EXPECT_GE(time_.loop.now() - begin, RotationWatch::kSilence);
  EXPECT_LE(time_.loop.now() - begin, 2 * RotationWatch::kSilence);
}

TEST_F(RotationCommand, retry_with_watch_follows_the_run_that_does_it_again) {
  let_it_run(1);
  runs_.runs[0].run = "r8";
  runs_.runs[0].consumers[0].consumer = "app-50";
  runs_.runs.insert(runs_.runs.begin(), sample_report(65, {50}));
  const auto step = runs_.on_look;
  runs_.on_look = [step](RunReport& now) {
    if (now.run == "r8") step(now);
  };
  runs_.change = {RunChange::Outcome::kDone, "r8", 1};
  EXPECT_EQ(run(Verb::kRetry, watching), ExitCode::kPartial);
  EXPECT_TRUE(said("1 consumer will be told again, in run r8\n")) << out_.str();
  EXPECT_TRUE(said("app-50 on host-1: failed: exit status 1\n")) << out_.str();
  EXPECT_TRUE(said("run r8: in part")) << out_.str();
}

TEST_F(RotationCommand, watch_without_a_run_waits_for_the_one_that_was_asked_for) {
  runs_.runs = {sample_report(1)};
  runs_.runs[0].run = "r8";
  runs_.tickets = 1;
  RunReport next = sample_report(2, {2});
  next.run = "r9";
  time_.loop.spawn([](FakeRuns& runs, Loop& loop, RunReport report) -> Task<void> {
    co_await loop.sleep_for(std::chrono::seconds(30));
    runs.runs.push_back(std::move(report));
  }(runs_, time_.loop, next));
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  EXPECT_TRUE(said("waiting for a host to run it\n")) << out_.str();
  EXPECT_TRUE(said("run r9: in part")) << out_.str();
  EXPECT_FALSE(said("run r8")) << out_.str();
  // Nothing is asked for: what the newest has come to.
  runs_.tickets = 0;
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  EXPECT_TRUE(said("run r9: in part")) << out_.str();
}

TEST_F(RotationCommand, watch_says_on_a_terminal_too_what_a_change_waits_for) {
  runs_.tickets = 1;
  runs_.next.settle = std::chrono::seconds(30);
  columns_ = 80;
  time_.loop.spawn([](FakeRuns& runs, Loop& loop) -> Task<void> {
    co_await loop.sleep_for(std::chrono::seconds(31));
    runs.runs.push_back(sample_report(1));
    runs.tickets = 0;
  }(runs_, time_.loop));
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kDone) << err_.str();
  EXPECT_TRUE(
      said("\rcollecting further changes until none comes for 30s (settle), at most 5m\x1b[K"))
      << out_.str();
  EXPECT_TRUE(said("run r7: complete")) << out_.str();
}

TEST_F(RotationCommand, watch_ends_when_no_host_runs_rotations) {
  runs_.tickets = 1;
  runs_.never_held();
  const TimePoint begin = time_.loop.now();
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  EXPECT_TRUE(complained("no host runs rotations")) << err_.str();
  EXPECT_LE(time_.loop.now() - begin, 2 * HolderWatch::kNobody);

  let_it_run(3);
  runs_.on_look = nullptr;
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  EXPECT_TRUE(complained("no host runs rotations")) << err_.str();
}

TEST_F(RotationCommand, watch_ends_when_the_lock_is_damaged_and_names_it) {
  runs_.tickets = 1;
  runs_.damaged_lock = true;
  const TimePoint begin = time_.loop.now();
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  EXPECT_TRUE(complained("DAMAGED ON THE BOARD: run/head: ")) << err_.str();
  EXPECT_LE(time_.loop.now() - begin, std::chrono::seconds(1));
}

TEST_F(RotationCommand, watch_gives_a_holder_that_died_the_time_to_be_replaced) {
  let_it_run(3);
  const auto step = runs_.on_look;
  int looks = 0;
  runs_.alive = false;
  runs_.on_look = [&, step](RunReport& now) {
    ++looks;
    if (looks == 90) runs_.alive = true;
    if (looks >= 90) step(now);
  };
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kDone) << err_.str();

  let_it_run(3);
  runs_.on_look = nullptr;
  runs_.alive = false;
  EXPECT_EQ(run(Verb::kShow, watching), ExitCode::kPartial);
  EXPECT_TRUE(complained("no host runs rotations any more (the last was host-1)")) << err_.str();
}

TEST_F(RotationCommand, retry_of_a_run_with_a_silent_host_says_that_it_is_asked_again) {
  runs_.runs = {sample_report(65)};
  runs_.change = {RunChange::Outcome::kDone, "r7", 0};
  EXPECT_EQ(run(Verb::kRetry), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "the hosts that were not heard from are asked again\n");
}

}  // namespace
}  // namespace keyfs
