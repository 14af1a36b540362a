// Runs and tickets in memory, for tests of what the command line makes of them.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "fs/rotation/run_desk.h"

namespace keyfs::testing {

// Runs in memory, the newest last. A look at the newest may change it.
class FakeRuns final : public RunDesk {
 public:
  explicit FakeRuns(Loop& loop) : loop_(loop) {}

  std::vector<RunReport> runs;
  std::vector<std::string> damaged;
  std::function<void(RunReport&)> on_look;
  std::optional<Error> error;  // of everything
  RunChange change{RunChange::Outcome::kDone, "r7", 1};
  std::vector<std::string> asked;

  Task<Result<Page>> list(std::string after, size_t limit, TimePoint) override {
    if (error) co_return fail(*error);
    Page page;
    bool begun = after.empty();
    if (begun) page.damaged = damaged;
    for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
      if (begun && page.runs.size() < limit) {
        page.runs.push_back(run->summary());
      } else if (begun) {
        page.next = page.runs.back().run;
        break;
      }
      begun = begun || run->run == after;
    }
    co_return page;
  }
  Task<Result<std::optional<RunReport>>> report(std::string run, TimePoint deadline) override {
    EXPECT_GT(deadline, loop_.now());
    ++looks;
    if (error) co_return fail(*error);
    for (auto found = runs.rbegin(); found != runs.rend(); ++found) {
      if (!run.empty() && found->run != run) continue;
      if (on_look) on_look(*found);
      co_return std::optional<RunReport>(*found);
    }
    co_return std::optional<RunReport>();
  }
  Task<Result<RunHolder>> holder(TimePoint) override {
    if (damaged_lock) co_return fail(Code::kCorrupt, "run/head is damaged");
    if (alive) ++last_.beat;
    co_return last_;
  }
  Task<Result<RunOutlook>> outlook(TimePoint) override {
    if (error) co_return fail(*error);
    co_return next;
  }
  Task<Result<std::vector<std::string>>> waiting(TimePoint) override {
    if (error) co_return fail(*error);
    co_return std::vector<std::string>(tickets == 0 ? 0 : 1, ticket_of);
  }
  Task<Result<std::vector<TicketFate>>> fates(std::vector<std::string> tokens, TimePoint) override {
    if (error) co_return fail(*error);
    std::vector<TicketFate> all;
    for (const std::string& token : tokens) all.push_back(fate(token));
    co_return all;
  }
  Task<Result<std::optional<RunChange>>> retry(std::string run, std::string by,
                                               TimePoint) override {
    asked.push_back("retry " + run + " by " + by);
    co_return std::optional<RunChange>(change);
  }
  Task<Result<std::optional<RunChange>>> mark_done(std::string run, std::string consumer,
                                                   std::string host, std::string by,
                                                   TimePoint) override {
    asked.push_back("done " + run + " [" + consumer + "] [" + host + "] by " + by);
    co_return std::optional<RunChange>(change);
  }
  Task<Result<std::optional<RunChange>>> stop(std::string run, std::string by, TimePoint) override {
    asked.push_back("stop " + run + " by " + by);
    co_return std::optional<RunChange>(change);
  }

  int looks = 0;
  bool alive = true;  // somebody runs rotations
  bool damaged_lock = false;
  size_t tickets = 0;  // that wait
  std::string ticket_of = "orders";
  RunOutlook next;  // for what
  std::function<TicketFate(const std::string& token)> fate;

  void never_held() {
    last_ = {};
    alive = false;
  }

 private:
  Loop& loop_;
  RunHolder last_{"host-1", 1, 0};
};

}  // namespace keyfs::testing
