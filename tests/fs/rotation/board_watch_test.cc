#include "fs/rotation/board_watch.h"

#include <gtest/gtest.h>

#include "fs/rotation/documents.h"
#include "support/fake_time.h"
#include "support/log_capture.h"
#include "support/memory_board.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

struct BoardWatchTest : ::testing::Test {
  BoardWatchTest() {
    const auto come = [](BoardWatchTest& self) -> Task<void> {
      co_await self.watch.until_there();
      self.there = true;
    };
    time.loop.spawn(watch.run());
    time.loop.spawn(come(*this));
  }
  ~BoardWatchTest() override { time.loop.shutdown(); }
  void wait(Duration duration) {
    const auto sleep = [](Loop& loop, Duration pause) -> Task<bool> {
      co_await loop.sleep_for(pause);
      co_return true;
    };
    time.loop.run_task(sleep(time.loop, duration));
  }
  // As a holder of the lock does.
  void beat() {
    Head head{1, "web-1", "life", ++beats};
    const auto now = documents->find(kHeadName);
    documents->write(kHeadName, to_text(head), now ? now->revision : "");
  }

  testing::FakeTimeLoop time;
  LogCapture log{time.clock};
  std::shared_ptr<MemoryDocuments> documents = std::make_shared<MemoryDocuments>();
  MemoryBoard memory{time.loop, documents};
  testing::FaultyBoard board{time.loop, memory};
  BoardWatch watch{time.loop, board, log.log()};
  bool there = false;
  uint64_t beats = 0;
};

TEST_F(BoardWatchTest, a_lock_that_is_renewed_is_somebodys) {
  for (int i = 0; i < 400; ++i) {
    beat();
    wait(30s);
    EXPECT_FALSE(watch.nobody_holds());
  }
  EXPECT_TRUE(there);
  EXPECT_LE(board.peeks, 6) << "a look an hour";
}

TEST_F(BoardWatchTest, a_lock_that_stays_the_same_is_nobodys_until_it_is_renewed) {
  beat();
  wait(80s);
  EXPECT_FALSE(watch.nobody_holds());
  wait(20s);
  EXPECT_TRUE(watch.nobody_holds());
  beat();
  wait(1h);
  EXPECT_FALSE(watch.nobody_holds());
}

TEST_F(BoardWatchTest, a_lock_that_was_never_taken_is_nobodys) {
  wait(2min);
  EXPECT_TRUE(watch.nobody_holds());
}

TEST_F(BoardWatchTest, a_board_that_is_not_there_is_told_once_and_waited_for) {
  board.error.emplace(Code::kDenied, "no table keys-board");
  wait(1h);
  EXPECT_TRUE(watch.absent());
  EXPECT_FALSE(there);
  EXPECT_EQ(log.count("no board that this host may use"), 1u);
  board.error.reset();
  wait(6min);
  EXPECT_FALSE(watch.absent());
  EXPECT_TRUE(there);
}

TEST_F(BoardWatchTest, a_board_that_is_taken_away_later_is_absent) {
  beat();
  wait(2min);
  EXPECT_TRUE(there);
  board.error.emplace(Code::kDenied, "no permission");
  wait(1h);
  EXPECT_TRUE(watch.absent());
}

TEST_F(BoardWatchTest, a_board_that_is_silent_is_there_and_says_nothing_of_the_lock) {
  board.error.emplace(Code::kUnavailable, "no answer");
  wait(1h);
  EXPECT_TRUE(there);
  EXPECT_FALSE(watch.absent());
  EXPECT_FALSE(watch.nobody_holds());
  EXPECT_EQ(log.count("no board that this host may use"), 0u);
}

}  // namespace
}  // namespace keyfs
