// What the command line learns of tickets, and of who runs rotations (fs/rotation/board_desk.h).
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "fs/rotation/board_desk.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/tickets.h"
#include "support/fake_time.h"
#include "support/memory_board.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using State = TicketFate::State;

class TicketFates : public ::testing::Test {
 protected:
  TimePoint soon() const { return time_.loop.now() + 10s; }
  void write(const std::string& name, const std::string& text) {
    const auto there = documents_->find(name);
    ASSERT_TRUE(documents_->write(name, text, there ? there->revision : "").done);
  }
  void put_ticket(const std::string& token, const std::string& overdue_since = "",
                  const std::string& id = "orders") {
    Ticket ticket;
    ticket.token = token;
    ticket.id = id;
    ticket.overdue_since = overdue_since;
    ticket.overdue_why = overdue_since.empty() ? "" : "two regions are out";
    write(ticket_name(token), to_text(ticket));
  }
  void remove_ticket(const std::string& token) {
    documents_->remove(ticket_name(token), documents_->find(ticket_name(token))->revision);
  }
  void put_run(uint64_t number, const std::string& token, RunKey::State key,
               RunDocument::State state = RunDocument::State::kEnded) {
    RunDocument run;
    run.run = run_of(number);
    run.epoch = 7;
    run.holder = "host-1";
    run.state = state;
    run.begun = "2026-11-26T11:00:00Z";
    RunKey one;
    one.id = "orders";
    one.token = token;
    one.state = key;
    run.keys.push_back(one);
    write(run_name(run.run), to_text(run));
    RunNow now;
    now.epoch = 7;
    now.number = number;
    now.run = state == RunDocument::State::kEnded ? "" : run.run;
    write(kNowName, to_text(now));
  }
  TicketFate fate(const std::string& token) {
    const auto fates = time_.loop.run_task(desk_.fates({token}, soon()));
    EXPECT_TRUE(fates) << fates.error().message;
    return fates && fates->size() == 1 ? fates->front() : TicketFate();
  }

  testing::FakeTimeLoop time_;
  std::shared_ptr<MemoryDocuments> documents_ = std::make_shared<MemoryDocuments>();
  MemoryBoard board_{time_.loop, documents_};
  OsRandom random_;
  BoardDesk desk_{time_.loop, board_, random_};
};

TEST_F(TicketFates, it_waits_then_is_in_a_run_and_stays_there) {
  put_ticket("t");
  EXPECT_EQ(fate("t").state, State::kWaiting);
  put_run(1, "another", RunKey::State::kCurrent);
  EXPECT_EQ(fate("t").state, State::kWaiting);
  put_run(2, "t", RunKey::State::kWaiting, RunDocument::State::kRotating);
  EXPECT_EQ(fate("t").state, State::kInRun);
  EXPECT_EQ(fate("t").run, run_of(2));
  remove_ticket("t");
  put_run(2, "t", RunKey::State::kCurrent);
  EXPECT_EQ(fate("t").state, State::kInRun);
  EXPECT_EQ(fate("t").key, RotatedKey::State::kCurrent);
  // Others have followed since it was looked at last, more than are read one by one.
  for (uint64_t number = 3; number <= 20; ++number) {
    put_run(number, "u" + std::to_string(number), RunKey::State::kCurrent);
  }
  EXPECT_EQ(fate("t").run, run_of(2));
  EXPECT_EQ(fate("u20").run, run_of(20));
}

TEST_F(TicketFates, one_that_is_overdue_is_in_no_run_until_it_is_done) {
  put_ticket("t");
  put_run(1, "t", RunKey::State::kOverdue, RunDocument::State::kRotating);
  EXPECT_EQ(fate("t").state, State::kOverdue) << "the ticket does not say so yet";
  put_ticket("t", "2026-11-26T11:00:00Z");
  put_run(1, "t", RunKey::State::kOverdue);
  EXPECT_EQ(fate("t").state, State::kOverdue);
  EXPECT_EQ(fate("t").why, "two regions are out");
  EXPECT_EQ(fate("t").since, "2026-11-26T11:00:00Z");
  put_ticket("t");
  EXPECT_EQ(fate("t").state, State::kWaiting) << "it was done meanwhile";
  put_run(2, "t", RunKey::State::kCurrent);
  EXPECT_EQ(fate("t").state, State::kInRun);
  EXPECT_EQ(fate("t").run, run_of(2));
}

TEST_F(TicketFates, one_that_somebody_removed_is_gone) {
  put_ticket("t");
  remove_ticket("t");
  EXPECT_EQ(fate("t").state, State::kGone);
  put_run(1, "t", RunKey::State::kOverdue);
  EXPECT_EQ(fate("t").state, State::kGone);
}

TEST_F(TicketFates, a_refused_key_tells_why) {
  put_run(1, "t", RunKey::State::kRefused);
  EXPECT_EQ(fate("t").state, State::kInRun);
  EXPECT_EQ(fate("t").key, RotatedKey::State::kRefused);
}

TEST_F(TicketFates, keys_that_wait_for_the_next_run_are_named) {
  put_ticket("a", "", "tls");
  put_ticket("b");
  put_ticket("c");  // of the same key
  put_ticket("e", "2026-11-26T11:00:00Z", "overdue");
  Ticket retry;
  retry.token = "d";
  retry.kind = Ticket::Kind::kRetry;
  retry.run = run_of(1);
  write(ticket_name("d"), to_text(retry));
  EXPECT_EQ(*time_.loop.run_task(desk_.waiting(soon())),
            (std::vector<std::string>{"orders", "tls"}));
}

TEST_F(TicketFates, it_is_not_gone_where_there_are_more_than_are_listed) {
  for (size_t number = 0; number < kMaxTicketsSeen + 2 * kMaxBoardPage; ++number) {
    put_ticket("t" + std::to_string(number));
  }
  put_ticket("z", "2026-11-26T12:00:00Z");
  EXPECT_EQ(fate("z").state, State::kOverdue);
  EXPECT_EQ(fate("zz").state, State::kGone);
}

TEST_F(TicketFates, the_holder_is_the_one_that_renews_the_lock) {
  EXPECT_EQ(*time_.loop.run_task(desk_.holder(soon())), RunHolder());
  write(kHeadName, to_text(Head{7, "web-1", "5f0c", 1201}));
  const auto holder = *time_.loop.run_task(desk_.holder(soon()));
  EXPECT_EQ(holder, (RunHolder{"web-1", 7, 1201}));
  write(kHeadName, to_text(Head{7, "web-1", "5f0c", 1202}));
  EXPECT_NE(*time_.loop.run_task(desk_.holder(soon())), holder);
}

}  // namespace
}  // namespace keyfs
