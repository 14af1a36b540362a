#include "store/sqlite/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/race.h"

#include "store/store_contract.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
namespace files = std::filesystem;

// A connection that bypasses keyfs.
class RawDatabase {
 public:
  explicit RawDatabase(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 10'000);
  }
  ~RawDatabase() { sqlite3_close(db_); }
  RawDatabase(const RawDatabase&) = delete;
  RawDatabase& operator=(const RawDatabase&) = delete;

  void run(const std::string& sql) {
    EXPECT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db_);
  }
  // The first column of the last row, with ?1 and ?2 bound.
  std::string run(const std::string& sql, const std::string& first,
                  const std::string& second = "") {
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr), SQLITE_OK);
    bind(statement, 1, first);
    bind(statement, 2, second);
    std::string text;
    int code = 0;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
      text.assign(static_cast<const char*>(sqlite3_column_blob(statement, 0)),
                  static_cast<size_t>(sqlite3_column_bytes(statement, 0)));
    }
    EXPECT_EQ(code, SQLITE_DONE) << sqlite3_errmsg(db_);
    sqlite3_finalize(statement);
    return text;
  }

 private:
  static void bind(sqlite3_stmt* statement, int place, const std::string& text) {
    sqlite3_bind_text(statement, place, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
  }
  sqlite3* db_ = nullptr;
};

struct RealTimeLoop {
  SystemClock clock;
  IdlePoller poller;
  Loop loop{clock, poller};
};

class SqliteUnderTest final : public StoreUnderTest {
 public:
  Loop& loop() override { return time_.loop; }
  std::unique_ptr<Store> connect() override {
    auto store = SqliteStore::open(time_.loop, path_, time_.loop.now() + 20s);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  std::string read_raw(const std::string& id) override {
    return RawDatabase(path_).run("SELECT record FROM records WHERE id = ?1", id);
  }
  void write_raw(const std::string& id, const std::string& bytes) override {
    RawDatabase(path_).run("UPDATE records SET record = ?2 WHERE id = ?1", id, bytes);
  }

 private:
  TemporaryDirectory directory_;
  std::string path_ = directory_.file("keys.db");
  RealTimeLoop time_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract,
                         ::testing::Values([] { return std::make_unique<SqliteUnderTest>(); }));

class SqliteStoreTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<SqliteStore>> open() {
    return SqliteStore::open(time_.loop, path_, time_.loop.now() + 20s);
  }
  std::unique_ptr<SqliteStore> must_open() {
    auto store = open();
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  Error why_not_open() {
    const auto store = open();
    return store ? Error(Code::kInvalid, "(it opens)") : store.error();
  }
  TimePoint in(Duration time) { return time_.loop.now() + time; }
  template <class T>
  T run(Task<T> task) {
    return time_.loop.run_task(std::move(task));
  }
  Result<PutResult> put(Store& store, const std::string& id) {
    return run(store.put_if_absent(example_record(id), in(20s)));
  }
  // Starts a client; its standard output can be read.
  FILE* start_client(const std::string& arguments) {
    FILE* client = ::popen(("exec " SQLITE_CLIENT " " + path_ + " " + arguments).c_str(), "r");
    EXPECT_NE(client, nullptr);
    return client;
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_.file("keys.db");
  RealTimeLoop time_;
};

std::string read_all(FILE* from) {
  std::string text;
  char buffer[4096];
  while (const size_t size = std::fread(buffer, 1, sizeof buffer, from)) text.append(buffer, size);
  return text;
}

TEST_F(SqliteStoreTest, eight_processes_that_start_on_a_new_file_agree_on_every_winner) {
  std::vector<FILE*> clients;
  for (const char* mark : {"a", "b", "c", "d", "e", "f", "g", "h"}) {
    clients.push_back(start_client(std::string("race ") + mark + " 40"));
  }
  std::set<std::string> outputs;
  for (FILE* client : clients) {
    outputs.insert(read_all(client));
    EXPECT_EQ(::pclose(client), 0);
  }
  ASSERT_EQ(outputs.size(), 1u) << "they saw different winners";
  EXPECT_THAT(*outputs.begin(), HasSubstr("key39 host-"));
}

TEST_F(SqliteStoreTest, what_was_acknowledged_survives_kill_9) {
  for (int round = 0; round < 3; ++round) {
    FILE* pid_reader =
        ::popen(("echo $$; exec " SQLITE_CLIENT " " + path_ + " write").c_str(), "r");
    ASSERT_NE(pid_reader, nullptr);
    pid_t pid = 0;
    ASSERT_EQ(std::fscanf(pid_reader, "%d", &pid), 1);
    std::vector<std::string> acknowledged;
    char id[300];
    while (acknowledged.size() < 30 && std::fscanf(pid_reader, "%299s", id) == 1) {
      acknowledged.emplace_back(id);
    }
    ::kill(pid, SIGKILL);
    while (std::fscanf(pid_reader, "%299s", id) == 1) acknowledged.emplace_back(id);
    ::pclose(pid_reader);
    ASSERT_GE(acknowledged.size(), 30u);
    const auto store = must_open();
    for (const auto& each : acknowledged) {
      const auto found = run(store->get(each, Read::kAny, in(20s)));
      ASSERT_TRUE(found) << found.error().message;
      EXPECT_TRUE(*found) << each;
    }
  }
}

TEST_F(SqliteStoreTest, reads_go_on_while_another_process_holds_the_write_lock) {
  const auto store = must_open();
  ASSERT_TRUE(put(*store, "orders"));
  RawDatabase other(path_);
  other.run("BEGIN IMMEDIATE");
  const auto late = run(store->put_if_absent(example_record("late"), in(300ms)));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kTimeout);
  EXPECT_THAT(late.error().message, HasSubstr("another process keeps it locked"));

  // While one of our own calls waits for the lock, too.
  auto waiting = store->put_if_absent(example_record("waiting"), in(20s));
  TaskGroup<Result<PutResult>> puts(time_.loop);
  puts.start(std::move(waiting));
  const auto found = run(store->get("orders", Read::kAny, in(10s)));
  ASSERT_TRUE(found && *found);
  EXPECT_FALSE(*run(store->get("late", Read::kAny, in(10s))));
  EXPECT_TRUE(run(store->list("", 10, in(10s))));
  EXPECT_EQ(puts.size(), 1u);
  other.run("COMMIT");
  const auto put = run(puts.next());
  ASSERT_TRUE(put && put->value) << put->value.error().message;
  EXPECT_TRUE(put->value->stored);
}

TEST_F(SqliteStoreTest, its_files_are_for_their_owner_alone) {
  const mode_t before = ::umask(0);
  const auto store = must_open();
  ASSERT_TRUE(put(*store, "orders"));
  ::umask(before);
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat info {};
    ASSERT_EQ(::stat((path_ + suffix).c_str(), &info), 0) << suffix;
    EXPECT_EQ(info.st_mode & 07777, 0600u) << suffix;
  }
}

TEST_F(SqliteStoreTest, a_file_that_is_gone_is_no_miss) {
  const auto store = must_open();
  ASSERT_TRUE(put(*store, "orders"));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    files::rename(path_ + suffix, path_ + ".aside");
    const auto found = run(store->get("absent", Read::kAny, in(20s)));
    ASSERT_FALSE(found) << suffix;
    EXPECT_EQ(found.error().code, Code::kUnavailable);
    EXPECT_THAT(found.error().message, HasSubstr(path_ + suffix));
    EXPECT_FALSE(put(*store, "new")) << suffix;
    EXPECT_FALSE(run(store->replace(example_record("orders", "b"), "1", in(20s))));
    EXPECT_FALSE(run(store->list("", 10, in(20s))));
    files::rename(path_ + ".aside", path_ + suffix);
    EXPECT_FALSE(*run(store->get("absent", Read::kAny, in(20s)))) << "put back, it works again";
  }
  EXPECT_FALSE(*run(store->get("new", Read::kAny, in(20s)))) << "nothing was created";
}

TEST_F(SqliteStoreTest, another_database_written_over_the_open_one_is_no_miss_and_gets_no_key) {
  const auto store = must_open();
  const auto first = put(*store, "orders");
  ASSERT_TRUE(first);
  // The same file to the kernel, but another store.
  RawDatabase raw(path_);
  raw.run("UPDATE meta SET value = 'ffffffffffffffffffffffffffffffff' WHERE name = 'store_id'");
  raw.run("DELETE FROM records");
  const auto found = run(store->get("orders", Read::kAny, in(20s)));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kInvalid) << found.error().message;
  EXPECT_THAT(found.error().message, HasSubstr("is not the store that keyfs opened"));
  EXPECT_FALSE(put(*store, "orders"));
  EXPECT_FALSE(run(store->replace(example_record("orders"), "1", in(20s))));
  EXPECT_EQ(raw.run("SELECT count(*) || '' FROM records WHERE id > ?1 OR id > ?2", "", ""), "0");
}

TEST_F(SqliteStoreTest, a_file_that_was_replaced_is_no_miss) {
  const auto store = must_open();
  ASSERT_TRUE(put(*store, "orders"));
  for (const char* suffix : {"", "-wal", "-shm"}) files::remove(path_ + suffix);
  const auto other = must_open();
  ASSERT_FALSE(*run(other->get("orders", Read::kAny, in(20s))));
  EXPECT_NE(other->store_id(), store->store_id());
  const auto found = run(store->get("orders", Read::kAny, in(20s)));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kUnavailable);
  EXPECT_THAT(found.error().message, HasSubstr("was replaced while keyfs had it open"));
  const auto put = this->put(*store, "new");
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::kUnavailable);
}

TEST_F(SqliteStoreTest, a_database_of_others_is_refused_and_left_as_it_is) {
  RawDatabase(path_).run("CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  std::stringstream before;
  before << std::ifstream(path_).rdbuf();
  const Error error = why_not_open();
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_THAT(error.message, HasSubstr("is the database of another program"));
  std::stringstream after;
  after << std::ifstream(path_).rdbuf();
  EXPECT_EQ(before.str(), after.str());
}

TEST_F(SqliteStoreTest, a_database_of_a_later_keyfs_is_refused) {
  must_open().reset();
  RawDatabase(path_).run("PRAGMA user_version = 2");
  const Error error = why_not_open();
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_THAT(error.message, HasSubstr("has schema 2, but this version of keyfs knows 1"));
}

TEST_F(SqliteStoreTest, a_file_that_is_no_database_is_refused) {
  std::ofstream(path_) << std::string(5000, 'x');
  const Error error = why_not_open();
  EXPECT_EQ(error.code, Code::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("not an SQLite database"));
}

TEST_F(SqliteStoreTest, a_damaged_database_is_never_read_as_empty) {
  {
    const auto store = must_open();
    for (int i = 0; i < 60; ++i) ASSERT_TRUE(put(*store, "key" + std::to_string(i)));
  }
  const auto size = files::file_size(path_);
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(size - 4096, 'x');
  file.close();
  auto store = open();
  if (!store) {
    EXPECT_EQ(store.error().code, Code::kCorrupt) << store.error().message;
    return;
  }
  const auto found = run((*store)->get("key7", Read::kAny, in(20s)));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kCorrupt) << found.error().message;
  EXPECT_FALSE(put(**store, "key7"));
}

TEST_F(SqliteStoreTest, a_directory_that_is_missing_is_told) {
  path_ = directory_.file("missing/keys.db");
  const Error error = why_not_open();
  EXPECT_EQ(error.code, Code::kUnavailable);
  EXPECT_EQ(error.message, path_ + ": cannot be created: its directory does not exist");
  path_ = directory_.file("");
  path_.pop_back();
  EXPECT_THAT(why_not_open().message, HasSubstr("is not a regular file"));
}

TEST_F(SqliteStoreTest, a_file_that_this_user_may_not_write_is_denied) {
  must_open().reset();
  files::permissions(path_, files::perms(0444));
  files::permissions(directory_.file(""), files::perms(0555));
  const bool root = ::geteuid() == 0;  // modes do not restrict root
  ASSERT_EQ(root ? ::seteuid(65534) : 0, 0);
  const Error error = why_not_open();
  ASSERT_EQ(root ? ::seteuid(0) : 0, 0);
  files::permissions(directory_.file(""), files::perms(0700));
  EXPECT_EQ(error.code, Code::kDenied) << error.message;
  EXPECT_THAT(error.message, HasSubstr(path_));
}

TEST_F(SqliteStoreTest, a_full_disk_is_told_and_survived) {
  const std::string disk = directory_.file("disk");
  files::create_directory(disk);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "may not mount a small disk here";
  }
  path_ = disk + "/keys.db";
  {
    const auto store = must_open();
    ASSERT_TRUE(put(*store, "first"));
    std::ofstream(disk + "/ballast") << std::string(2 << 20, 'x');
    std::optional<Error> error;
    std::set<std::string> stored = {"first"};
    for (int i = 0; i < 1000 && !error; ++i) {
      const std::string id = "key" + std::to_string(i);
      const auto put = this->put(*store, id);
      if (put) {
        stored.insert(id);
      } else {
        error = put.error();
      }
    }
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, Code::kUnavailable) << error->message;
    EXPECT_THAT(error->message, HasSubstr("the disk is full"));
    for (const auto& id : stored) EXPECT_TRUE(*run(store->get(id, Read::kAny, in(20s)))) << id;
    files::remove(disk + "/ballast");
    EXPECT_TRUE(put(*store, "after"));
  }
  EXPECT_EQ(::umount(disk.c_str()), 0);
}

TEST_F(SqliteStoreTest, its_check_tells_a_lock_that_another_process_keeps) {
  const auto store = must_open();
  files::permissions(path_, files::perms(0644));
  RawDatabase other(path_);
  other.run("BEGIN IMMEDIATE");
  const auto check = run(store->check(in(300ms)));
  other.run("ROLLBACK");
  std::map<std::string, CheckItem> items;
  for (const auto& item : check.items) items[item.what] = item;
  EXPECT_TRUE(items["reachable"].ok) << items["reachable"].detail;
  EXPECT_FALSE(items["may write"].ok);
  EXPECT_THAT(items["may write"].detail, HasSubstr("another process keeps it locked"));
  EXPECT_FALSE(items["private"].ok);
  EXPECT_EQ(items["private"].remedy, "chmod 600 " + path_);
}

}  // namespace
}  // namespace keyfs::testing
