#include "fs/rotation/board_desk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "fs/rotation/documents.h"
#include "fs/rotation/sheet.h"
#include "support/fake_time.h"
#include "support/memory_board.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Outcome = RunChange::Outcome;

// Runs as a runner leaves them on the board.
class BoardDeskTest : public ::testing::Test {
 protected:
  TimePoint soon() const { return time_.loop.now() + 10s; }

  // One of `consumers` on host-1, those in `failed` failed.
  RunDocument put_run(uint64_t number, size_t consumers, const std::vector<size_t>& failed = {}) {
    RunDocument run;
    run.run = run_of(number);
    run.epoch = 7;
    run.holder = "host-1";
    run.state = RunDocument::State::kEnded;
    run.end = failed.empty() ? RunDocument::End::kComplete : RunDocument::End::kInPart;
    run.begun = "2026-11-26T11:00:00Z";
    run.ended = "2026-11-26T11:02:10Z";
    RunKey key;
    key.id = "orders";
    key.token = "t1";
    key.state = RunKey::State::kCurrent;
    key.before = 2;
    key.current = 3;
    run.keys.push_back(key);
    run.counts.total = consumers;
    run.counts.failed = failed.size();
    run.counts.ok = consumers - failed.size();
    std::vector<Sheet> sheets;
    for (size_t i = 1; i <= consumers; ++i) {
      if (sheets.empty() || sheets.back().rows.size() == kMaxRows) {
        Sheet sheet;
        sheet.run = run.run;
        sheet.host = "host-1";
        sheet.page = static_cast<uint32_t>(sheets.size());
        sheets.push_back(sheet);
      }
      Row row;
      row.consumer = "app-" + std::to_string(i);
      row.keys = {0};
      row.state = RowState::kOk;
      row.begun = "2026-11-26T11:00:01Z";
      row.ended = "2026-11-26T11:00:02Z";
      if (std::find(failed.begin(), failed.end(), i) != failed.end()) {
        row.state = RowState::kFailed;
        row.why = "exit status 1";
      }
      sheets.back().rows.push_back(row);
    }
    for (const Sheet& sheet : sheets) {
      write(sheet_name(sheet.run, sheet.host, sheet.page), to_text(sheet));
    }
    write(run_name(run.run), to_text(run));
    return run;
  }
  void write(const std::string& name, const std::string& text) {
    const auto there = documents_->find(name);
    ASSERT_TRUE(documents_->write(name, text, there ? there->revision : "").done);
  }
  std::vector<Ticket> tickets() {
    auto seen = time_.loop.run_task(list_tickets(board_, soon()));
    std::vector<Ticket> all;
    if (seen) {
      for (const auto& one : seen->tickets) all.push_back(one.ticket);
    }
    return all;
  }
  RunReport report(const std::string& run) {
    auto found = time_.loop.run_task(desk_.report(run, soon()));
    EXPECT_TRUE(found && *found);
    return found && *found ? **found : RunReport();
  }
  RunChange change(Task<Result<std::optional<RunChange>>> task) {
    auto changed = time_.loop.run_task(std::move(task));
    EXPECT_TRUE(changed) << changed.error().message;
    EXPECT_TRUE(changed && *changed);
    return changed && *changed ? **changed : RunChange();
  }

  testing::FakeTimeLoop time_;
  std::shared_ptr<MemoryDocuments> documents_ = std::make_shared<MemoryDocuments>();
  MemoryBoard board_{time_.loop, documents_};
  OsRandom random_;
  BoardDesk desk_{time_.loop, board_, random_};
};

TEST_F(BoardDeskTest, a_report_has_what_runner_and_hosts_wrote) {
  RunDocument run = put_run(7, 3, {2});
  run.keys[0].missing = {"us-west-2"};
  run.keys[0].why = "timed out";
  run.unheard = {"web-7"};
  run.unheard_more = 4;
  run.takeovers = {"host-2 -> host-1"};
  run.notice = RunDocument::Notice::kFailed;
  run.notice_why = "https://hooks.example.com/T0/secret: answered 503 (3 tries)";
  write(run_name(run.run), to_text(run));
  const RunReport told = report(run.run);
  EXPECT_EQ(told.run, run.run);
  EXPECT_EQ(told.epoch, 7u);
  EXPECT_EQ(told.state, RunState::kEnded);
  EXPECT_EQ(told.begun, from_rfc3339("2026-11-26T11:00:00Z"));
  EXPECT_EQ(told.ended, from_rfc3339("2026-11-26T11:02:10Z"));
  ASSERT_EQ(told.keys.size(), 1u);
  EXPECT_EQ(told.keys[0].state, RotatedKey::State::kCurrent);
  EXPECT_EQ(told.keys[0].version, 3u);
  EXPECT_EQ(told.keys[0].before, 2u);
  EXPECT_EQ(told.keys[0].missing, (std::vector<std::string>{"us-west-2"}));
  EXPECT_EQ(told.keys[0].reason, "timed out");
  ASSERT_EQ(told.consumers.size(), 3u);
  EXPECT_EQ(told.consumers[1].consumer, "app-2");
  EXPECT_EQ(told.consumers[1].host, "host-1");
  EXPECT_EQ(told.consumers[1].state, ConsumerState::kFailed);
  EXPECT_EQ(told.consumers[1].reason, "exit status 1");
  EXPECT_EQ(told.consumers[1].keys, (std::vector<std::string>{"orders/3"}));
  EXPECT_EQ(told.counts().not_heard_from, 5u);
  EXPECT_EQ(told.takeovers, run.takeovers);
  EXPECT_EQ(told.notify, NotifyState::kFailed);
  EXPECT_EQ(told.notify_reason, "(URL) answered 503 (3 tries)");
  EXPECT_FALSE(told.summary().complete());
}

TEST_F(BoardDeskTest, without_a_name_it_is_the_newest_and_of_no_run_it_is_none) {
  auto none = time_.loop.run_task(desk_.report("", soon()));
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_FALSE(*none);
  put_run(9, 1);
  put_run(10, 1);
  EXPECT_EQ(report("").run, run_of(10));
  for (const char* name : {"run-00000011", "nonsense", "../head"}) {
    auto found = time_.loop.run_task(desk_.report(name, soon()));
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_FALSE(*found) << name;
  }
}

TEST_F(BoardDeskTest, the_outlook_is_the_holders) {
  const auto outlook = [&] { return *time_.loop.run_task(desk_.outlook(soon())); };
  EXPECT_FALSE(outlook().under_way);
  EXPECT_FALSE(outlook().settle);
  RunNow now;
  now.epoch = now.number = 7;
  write(kNowName, to_text(now));  // of a holder that does not tell
  EXPECT_FALSE(outlook().settle);
  now.run = run_of(7);
  now.settle_ms = 5000;
  write(kNowName, to_text(now));
  EXPECT_TRUE(outlook().under_way);
  EXPECT_EQ(outlook().settle, Duration(5s));
  now.settle_ms = UINT64_MAX;  // no time that any host may have
  write(kNowName, to_text(now));
  EXPECT_FALSE(outlook().settle);
}

TEST_F(BoardDeskTest, a_list_is_the_newest_first_page_by_page) {
  for (uint64_t number = 1; number <= 5; ++number) put_run(number, 2);
  const auto first = time_.loop.run_task(desk_.list("", 3, soon()));
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_EQ(first->runs.size(), 3u);
  EXPECT_EQ(first->runs[0].run, run_of(5));
  EXPECT_EQ(first->runs[0].counts.ok, 2u);
  EXPECT_EQ(first->runs[0].keys, (std::vector<std::string>{"orders"}));
  ASSERT_TRUE(first->next);
  const auto second = time_.loop.run_task(desk_.list(*first->next, 3, soon()));
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_EQ(second->runs.size(), 2u);
  EXPECT_EQ(second->runs[1].run, run_of(1));
  EXPECT_FALSE(second->next);
}

TEST_F(BoardDeskTest, a_retry_is_a_ticket_and_the_run_waits_until_it_is_begun) {
  RunDocument run = put_run(7, 65, {50});
  const RunChange asked = change(desk_.retry(run.run, "alice", soon()));
  EXPECT_EQ(asked.outcome, Outcome::kDone);
  EXPECT_EQ(asked.run, run.run);
  EXPECT_EQ(asked.consumers, 1u);
  ASSERT_EQ(tickets().size(), 1u);
  const Ticket ticket = tickets()[0];
  EXPECT_EQ(ticket.kind, Ticket::Kind::kRetry);
  EXPECT_EQ(ticket.run, run.run);
  EXPECT_EQ(ticket.by, "alice");
  EXPECT_EQ(report(run.run).state, RunState::kWaiting);
  EXPECT_FALSE(report(run.run).summary().has_ended());
  // A second one is not put beside it.
  EXPECT_EQ(change(desk_.retry(run.run, "bob", soon())).outcome, Outcome::kUnderWay);
  EXPECT_EQ(tickets().size(), 1u);
  // Begun and ended; its ticket is still there.
  run.retries.push_back(ticket.token);
  write(run_name(run.run), to_text(run));
  EXPECT_EQ(report(run.run).state, RunState::kEnded);
}

TEST_F(BoardDeskTest, nothing_is_asked_for_where_nothing_failed_or_the_run_goes_on) {
  put_run(7, 65);
  EXPECT_EQ(change(desk_.retry(run_of(7), "alice", soon())).outcome, Outcome::kNothing);
  EXPECT_EQ(change(desk_.stop(run_of(7), "alice", soon())).outcome, Outcome::kNothing);
  RunDocument goes_on = put_run(8, 65, {50});
  goes_on.state = RunDocument::State::kTelling;
  write(run_name(goes_on.run), to_text(goes_on));
  EXPECT_EQ(change(desk_.retry(run_of(8), "alice", soon())).outcome, Outcome::kUnderWay);
  EXPECT_TRUE(tickets().empty());
  EXPECT_EQ(change(desk_.stop(run_of(8), "alice", soon())).outcome, Outcome::kDone);
  ASSERT_EQ(tickets().size(), 1u);
  EXPECT_EQ(tickets()[0].kind, Ticket::Kind::kStop);
}

TEST_F(BoardDeskTest, a_host_that_was_not_heard_from_is_reason_enough_for_a_retry) {
  RunDocument run = put_run(7, 2);
  run.unheard = {"web-7"};
  run.end = RunDocument::End::kInPart;
  write(run_name(run.run), to_text(run));
  EXPECT_EQ(change(desk_.retry(run.run, "alice", soon())).outcome, Outcome::kDone);
}

TEST_F(BoardDeskTest, once_the_last_failure_is_marked_the_run_is_complete) {
  put_run(7, 65, {50});
  EXPECT_EQ(change(desk_.mark_done(run_of(7), "app-50", "", "alice", soon())).outcome,
            Outcome::kDone);
  EXPECT_TRUE(report(run_of(7)).summary().complete());
  EXPECT_EQ(report(run_of(7)).consumers[49].state, ConsumerState::kMarked);
  EXPECT_EQ(change(desk_.mark_done(run_of(7), "app-50", "", "alice", soon())).outcome,
            Outcome::kNothing);
  EXPECT_EQ(change(desk_.retry(run_of(7), "alice", soon())).outcome, Outcome::kNothing);
}

TEST_F(BoardDeskTest, a_consumer_is_marked_on_the_host_that_was_named_only) {
  put_run(7, 2, {1});
  EXPECT_EQ(change(desk_.mark_done(run_of(7), "app-1", "host-2", "alice", soon())).outcome,
            Outcome::kUnknown);
  EXPECT_EQ(change(desk_.mark_done(run_of(7), "app-9", "", "alice", soon())).outcome,
            Outcome::kUnknown);
  EXPECT_EQ(change(desk_.mark_done(run_of(7), "app-1", "host-1", "alice", soon())).outcome,
            Outcome::kDone);
}

TEST_F(BoardDeskTest, what_is_under_way_is_not_marked_and_not_said_to_be_done) {
  RunDocument run = put_run(7, 2);
  run.state = RunDocument::State::kTelling;
  run.end = RunDocument::End::kNone;
  write(run_name(run.run), to_text(run));
  for (const RowState state : {RowState::kWaiting, RowState::kOrdered, RowState::kStarted}) {
    const std::string name = sheet_name(run.run, "host-1", 0);
    auto sheet = parse_sheet(documents_->find(name)->text);
    ASSERT_TRUE(sheet);
    sheet->rows[0].state = state;
    write(name, to_text(*sheet));
    for (const std::string host : {"", "host-1"}) {
      EXPECT_EQ(change(desk_.mark_done(run.run, "app-1", host, "alice", soon())).outcome,
                Outcome::kUnderWay);
    }
    EXPECT_EQ(parse_sheet(documents_->find(name)->text)->rows[0].state, state);
  }
  EXPECT_EQ(change(desk_.mark_done(run.run, "app-2", "", "alice", soon())).outcome,
            Outcome::kNothing);
}

TEST_F(BoardDeskTest, of_a_consumer_on_several_hosts_those_that_could_not_be_marked_are_told) {
  RunDocument run = put_run(7, 2);
  run.state = RunDocument::State::kTelling;
  run.end = RunDocument::End::kNone;
  write(run_name(run.run), to_text(run));
  const auto put = [&](const std::string& host, RowState state) {
    Sheet sheet;
    sheet.run = run.run;
    sheet.host = host;
    Row row;
    row.consumer = "py";
    row.keys = {0};
    row.state = state;
    row.why = state == RowState::kFailed ? "exit status 1" : "";
    sheet.rows.push_back(row);
    write(sheet_name(run.run, host, 0), to_text(sheet));
  };
  put("web-1", RowState::kFailed);
  put("web-2", RowState::kStarted);
  put("web-3", RowState::kOk);
  put("web-4", RowState::kWaiting);
  put("web-5", RowState::kGone);
  const RunChange first = change(desk_.mark_done(run.run, "py", "", "alice", soon()));
  EXPECT_EQ(first.outcome, Outcome::kDone);
  EXPECT_EQ(first.consumers, 1u);
  ASSERT_EQ(first.marked.size(), 1u);
  EXPECT_EQ(first.marked[0].host, "web-1");
  ASSERT_EQ(first.not_marked.size(), 2u);
  EXPECT_EQ(first.not_marked[0].host, "web-2");
  EXPECT_EQ(first.not_marked[0].state, ConsumerState::kRunning);
  EXPECT_EQ(first.not_marked[1].host, "web-4");
  EXPECT_EQ(first.not_marked[1].state, ConsumerState::kWaiting);
  // Of one host it is only that one's.
  const RunChange other = change(desk_.mark_done(run.run, "py", "web-1", "alice", soon()));
  EXPECT_EQ(other.outcome, Outcome::kNothing);
  EXPECT_TRUE(other.marked.empty() && other.not_marked.empty());
  // The same again: nothing more can be marked yet, and then it can.
  EXPECT_EQ(change(desk_.mark_done(run.run, "py", "", "alice", soon())).outcome,
            Outcome::kUnderWay);
  put("web-2", RowState::kFailed);
  put("web-4", RowState::kNotTried);
  const RunChange last = change(desk_.mark_done(run.run, "py", "", "alice", soon()));
  EXPECT_EQ(last.outcome, Outcome::kDone);
  EXPECT_EQ(last.marked.size(), 2u);
  EXPECT_TRUE(last.not_marked.empty());
}

TEST_F(BoardDeskTest, a_host_that_was_heard_from_is_not_said_to_be_done) {
  put_run(7, 2, {1});
  EXPECT_EQ(change(desk_.mark_done(run_of(7), "", "host-1", "alice", soon())).outcome,
            Outcome::kHeard);
  EXPECT_EQ(change(desk_.mark_done(run_of(7), "", "host-2", "alice", soon())).outcome,
            Outcome::kUnknown);
}

TEST_F(BoardDeskTest, a_host_that_was_not_heard_from_can_be_excused) {
  RunDocument run = put_run(7, 2);
  run.unheard = {"web-7"};
  run.end = RunDocument::End::kInPart;
  write(run_name(run.run), to_text(run));
  EXPECT_EQ(change(desk_.mark_done(run.run, "", "web-7", "alice", soon())).outcome, Outcome::kDone);
  EXPECT_TRUE(report(run.run).summary().complete());
  EXPECT_EQ(change(desk_.mark_done(run.run, "", "web-7", "alice", soon())).outcome,
            Outcome::kNothing);
}

TEST_F(BoardDeskTest, a_damaged_run_is_named_and_the_others_are_listed) {
  put_run(7, 1);
  put_run(8, 1);
  put_run(9, 1);
  write(run_name(run_of(8)), "{}");
  const auto page = time_.loop.run_task(desk_.list("", 100, soon()));
  ASSERT_TRUE(page) << page.error().message;
  ASSERT_EQ(page->runs.size(), 2u);
  EXPECT_EQ(page->runs[0].run, run_of(9));
  EXPECT_EQ(page->runs[1].run, run_of(7));
  EXPECT_EQ(page->damaged, (std::vector<std::string>{run_of(8)}));
}

TEST_F(BoardDeskTest, a_run_that_is_not_there_is_not_changed) {
  const auto is_none = [&](Task<Result<std::optional<RunChange>>> task) {
    auto changed = time_.loop.run_task(std::move(task));
    return changed && !*changed;
  };
  EXPECT_TRUE(is_none(desk_.retry(run_of(7), "alice", soon())));
  EXPECT_TRUE(is_none(desk_.stop(run_of(7), "alice", soon())));
  EXPECT_TRUE(is_none(desk_.mark_done(run_of(7), "app", "", "alice", soon())));
  EXPECT_TRUE(tickets().empty());
}

}  // namespace
}  // namespace keyfs
