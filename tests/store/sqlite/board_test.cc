#include "store/sqlite/board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>

#include "base/race.h"
#include "store/board_contract.h"
#include "store/sqlite/store.h"
#include "store/store_contract.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
namespace files = std::filesystem;

// A connection that bypasses keyfs.
class Raw {
 public:
  explicit Raw(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 10'000);
  }
  ~Raw() { sqlite3_close(db_); }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;
  void run(const std::string& sql) {
    EXPECT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db_);
  }
  int number(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr), SQLITE_OK);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW);
    const int number = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return number;
  }

 private:
  sqlite3* db_ = nullptr;
};

struct World {
  std::unique_ptr<SqliteStore> connect() {
    auto store = SqliteStore::open(loop, path, loop.now() + 20s);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  TimePoint in(Duration time) { return loop.now() + time; }

  TemporaryDirectory directory;
  std::string path = directory.file("keys.db");
  SystemClock clock;
  IdlePoller poller;
  Loop loop{clock, poller};
};

class SqliteBoardUnderTest final : public BoardUnderTest {
 public:
  Loop& loop() override { return world_.loop; }
  std::unique_ptr<Store> connect() override { return world_.connect(); }
  void damage(const std::string& name) override {
    Raw(world_.path).run("UPDATE board SET revision = '' WHERE name = '" + name + "'");
  }

 private:
  World world_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, BoardContract, ::testing::Values([] {
                           return std::make_unique<SqliteBoardUnderTest>();
                         }));

class SqliteBoardTest : public ::testing::Test {
 protected:
  template <class T>
  T run(Task<T> task) {
    return world_.loop.run_task(std::move(task));
  }
  int tables() {
    return Raw(world_.path).number("SELECT count(*) FROM sqlite_schema WHERE name = 'board'");
  }

  World world_;
};

TEST_F(SqliteBoardTest, a_database_stays_as_it_is_until_something_is_written_on_its_board) {
  const auto store = world_.connect();
  Board& board = *store->board();
  EXPECT_FALSE(*run(board.get("run/head", world_.in(20s))));
  EXPECT_TRUE(run(board.list("run/", "", 10, world_.in(20s)))->documents.empty());
  (void)run(store->check(world_.in(20s)));
  EXPECT_EQ(tables(), 0);
  // One that was open before another process made the table finds it.
  const auto other = world_.connect();
  ASSERT_TRUE(run(other->board()->put_if_absent("run/head", "1", world_.in(20s)))->done);
  EXPECT_EQ(tables(), 1);
  EXPECT_TRUE(*run(board.get("run/head", world_.in(20s))));
}

TEST_F(SqliteBoardTest, a_first_write_that_is_not_done_leaves_a_board_that_can_be_used) {
  const auto store = world_.connect();
  Board& board = *store->board();
  EXPECT_FALSE(run(board.replace("run/head", "1", "x", world_.in(20s)))->done);
  EXPECT_TRUE(run(board.put_if_absent("run/head", "1", world_.in(20s)))->done);
}

TEST_F(SqliteBoardTest, a_lock_that_another_process_keeps_is_a_timeout_whose_outcome_is_known) {
  const auto store = world_.connect();
  Board& board = *store->board();
  const auto there = run(board.put_if_absent("run/head", "1", world_.in(20s)));
  ASSERT_TRUE(there && there->done);
  Raw other(world_.path);
  other.run("BEGIN IMMEDIATE");
  const auto late = run(board.replace("run/head", "2", there->now->revision, world_.in(300ms)));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kTimeout);
  EXPECT_THAT(late.error().message, HasSubstr("another process keeps it locked"));
  EXPECT_EQ((*run(board.get("run/head", world_.in(20s))))->text, "1") << "reads go on";
  other.run("COMMIT");
  EXPECT_TRUE(run(board.replace("run/head", "2", there->now->revision, world_.in(20s)))->done);
}

TEST_F(SqliteBoardTest, a_database_that_was_written_over_has_no_board_any_more) {
  const auto store = world_.connect();
  Board& board = *store->board();
  const auto there = run(board.put_if_absent("run/head", "1", world_.in(20s)));
  ASSERT_TRUE(there && there->done);
  Raw(world_.path).run("UPDATE meta SET value = 'another' WHERE name = 'store_id'");
  EXPECT_EQ(run(board.get("run/head", world_.in(20s))).error().code, Code::kInvalid);
  EXPECT_EQ(run(board.replace("run/head", "2", there->now->revision, world_.in(20s))).error().code,
            Code::kInvalid);
  EXPECT_EQ(run(board.put_if_absent("run/new", "2", world_.in(20s))).error().code, Code::kInvalid);
}

TEST_F(SqliteBoardTest, a_file_that_is_gone_is_no_empty_board) {
  const auto store = world_.connect();
  Board& board = *store->board();
  const auto there = run(board.put_if_absent("run/head", "1", world_.in(20s)));
  ASSERT_TRUE(there && there->done);
  for (const char* suffix : {"", "-wal", "-shm"}) files::remove(world_.path + suffix);
  EXPECT_EQ(run(board.get("run/head", world_.in(20s))).error().code, Code::kUnavailable);
  EXPECT_EQ(run(board.get("run/none", world_.in(20s))).error().code, Code::kUnavailable);
  EXPECT_FALSE(run(board.put_if_absent("run/new", "1", world_.in(20s))));
  EXPECT_FALSE(run(board.remove("run/head", there->now->revision, world_.in(20s))));
}

TEST_F(SqliteBoardTest, the_writes_of_records_are_no_changes_to_its_watch) {
  struct Heard final : BoardListener {
    void on_change(const std::string&) override { ++gaps; }
    void on_gap() override { ++gaps; }
    int gaps = 0;
  } heard;
  const auto store = world_.connect();
  world_.loop.spawn(store->board()->watch(heard));
  const auto wait = [](Loop& loop, Duration time) -> Task<int> {
    co_await loop.sleep_for(time);
    co_return 0;
  };
  run(wait(world_.loop, 200ms));
  ASSERT_TRUE(run(store->put_if_absent(example_record("orders"), world_.in(20s))));
  run(wait(world_.loop, 1500ms));
  EXPECT_EQ(heard.gaps, 1);
  world_.loop.shutdown();
}

}  // namespace
}  // namespace keyfs::testing
