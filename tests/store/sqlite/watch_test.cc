// What a store in SQLite announces: everything that keyfs writes, whichever process does it.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/sqlite/store.h"
#include "store/store_contract.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;

struct Heard final : ChangeListener {
  void on_change(const std::string& id, const std::optional<Stored>& stored) override {
    ids.push_back(id);
    last = stored;
  }
  void on_gap() override { ++gaps; }
  void on_live(bool, TimePoint) override { ++lives; }
  std::vector<std::string> ids;
  std::optional<Stored> last;
  int gaps = 0, lives = 0;
};

struct SqliteWatch : ::testing::Test {
  SqliteWatch() {
    mine = open();
    theirs = open();
    loop.spawn(mine->watch(heard));
    // The position of the watch is known once it has looked: what is written from here on is heard.
    EXPECT_TRUE(loop.run_task(mine->get("nobody", Read::kStrong, loop.now() + 10s)));
  }
  ~SqliteWatch() override { loop.shutdown(); }

  std::unique_ptr<SqliteStore> open() {
    auto store = SqliteStore::open(loop, dir.file("keys.db"), loop.now() + 10s);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  Stored write(const std::string& id) {
    auto put = loop.run_task(theirs->put_if_absent(example_record(id), loop.now() + 10s));
    EXPECT_TRUE(put && put->stored);
    return put->winner;
  }
  Stored change(Stored of, KeyState state) {
    of.record.state = state;
    auto replaced =
        loop.run_task(theirs->replace(std::move(of.record), of.revision, loop.now() + 10s));
    EXPECT_TRUE(replaced && *replaced);
    return **replaced;
  }
  void edit(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(dir.file("keys.db").c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  // Until `heard` is so, or for as long as a broken one is waited for.
  bool until(const std::function<bool()>& so) {
    const auto waiting = [](Loop& on, const std::function<bool()>& what) -> Task<bool> {
      const TimePoint give_up = on.now() + 10s;
      while (!what() && on.now() < give_up) co_await on.sleep_for(5ms);
      co_return what();
    };
    return loop.run_task(waiting(loop, so));
  }

  TemporaryDirectory dir;
  SystemClock clock;
  IdlePoller poller;
  Loop loop{clock, poller};
  std::unique_ptr<SqliteStore> mine, theirs;
  Heard heard;
};

TEST_F(SqliteWatch, what_another_process_writes_is_announced_with_the_record) {
  const Stored first = write("orders");
  ASSERT_TRUE(until([&] { return heard.ids.size() == 1; }));
  EXPECT_EQ(heard.last->record, first.record);
  EXPECT_EQ(heard.last->revision, first.revision);
  EXPECT_FALSE(heard.last->json.empty());
  const Stored second = change(first, KeyState::kDisabled);
  ASSERT_TRUE(until([&] { return heard.ids.size() == 2; }));
  EXPECT_EQ(heard.last->record, second.record);
  EXPECT_EQ(heard.ids, (std::vector<std::string>{"orders", "orders"}));
  EXPECT_EQ(heard.gaps, 0);
  EXPECT_EQ(heard.lives, 0) << "what others do to the file is not seen";
}

TEST_F(SqliteWatch, of_a_record_that_does_not_parse_the_id_is_announced) {
  write("orders");
  ASSERT_TRUE(until([&] { return heard.ids.size() == 1; }));
  edit("UPDATE records SET record = '{', revision = revision + 1");
  ASSERT_TRUE(until([&] { return heard.ids.size() == 2; }));
  EXPECT_FALSE(heard.last);
}

TEST_F(SqliteWatch, more_than_one_page_is_announced_whole) {
  edit(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) "
      "INSERT INTO records(id, record, revision) SELECT 'key-' || i, '{', i FROM n");
  ASSERT_TRUE(until([&] { return heard.ids.size() >= 600; }));
  EXPECT_EQ(heard.ids.size(), 600u);
  EXPECT_EQ(heard.ids.back(), "key-600");
}

TEST_F(SqliteWatch, rows_that_were_taken_away_are_a_gap) {
  write("orders");
  write("invoices");
  ASSERT_TRUE(until([&] { return heard.ids.size() == 2; }));
  edit("DELETE FROM records WHERE id = 'invoices'");
  ASSERT_TRUE(until([&] { return heard.gaps == 1; }));
  write("payments");
  ASSERT_TRUE(until([&] { return heard.ids.size() == 3; }));
  EXPECT_EQ(heard.ids.back(), "payments");
}

}  // namespace
}  // namespace keyfs::testing
