// One connection to a keyfs SQLite database, which several processes may share.
//
// The database is in WAL mode (readers continue while another process writes) with synchronous=FULL
// (what was committed survives power loss). It is created with mode 0600, which SQLite gives to its
// -wal and -shm files too.
//
// Thread-safety: none; one thread at a time, which may change between calls. Do not use it across
// fork(): POSIX locks are not inherited. Do not open and close the database's file by other means
// either: that drops SQLite's locks on it. Ownership: statements may outlive their connection, but
// are useless then. Blocking: every call; waits for others' locks until its deadline, and for the
// disk as long as it takes. Errors: kTimeout if others held their locks for too long; kUnavailable
// for a full or failing disk, or if the file was moved; kDenied if it is not writable; kCorrupt if
// it is damaged or not a database; kInvalid if it belongs to another program or has a newer schema.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace keyfs {

class SqliteDb;

// A prepared statement. Bound values must live until the statement is reset.
class SqliteStatement {
 public:
  SqliteStatement() = default;

  // `place` counts from 1.
  void bind(int place, std::string_view text);
  void bind(int place, int64_t number);
  // True: there is a row. After false, an error or enough rows: reset().
  Result<bool> step();
  // `column` counts from 0. nullopt for a value of another type. Valid until the next step() or
  // reset().
  std::optional<std::string_view> text(int column) const;
  int64_t number(int column) const;
  void reset();

 private:
  friend class SqliteDb;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  SqliteDb* db_ = nullptr;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Resets at the end of a scope: an open read would keep the WAL from being truncated.
class SqliteReset {
 public:
  explicit SqliteReset(SqliteStatement& statement) : statement_(statement) {}
  ~SqliteReset() { statement_.reset(); }
  SqliteReset(const SqliteReset&) = delete;
  SqliteReset& operator=(const SqliteReset&) = delete;

 private:
  SqliteStatement& statement_;
};

class SqliteDb {
 public:
  struct Schema {
    int32_t application_id;  // identifies keyfs's databases
    int32_t version;         // user_version; from 1
    std::string sql;         // creates the tables in an empty database
  };

  // What a file without tables is taken for.
  enum class Empty {
    kNew,      // a database to be made, as where there is no file
    kMissing,  // none: kUnavailable
    kLost,     // one that has lost all that it held: kCorrupt. No file is kUnavailable
  };

  // Opens the database. `path` is absolute.
  static Result<std::unique_ptr<SqliteDb>> open(const Clock& clock, std::string path,
                                                const Schema& schema, TimePoint deadline,
                                                Empty empty = Empty::kNew);
  ~SqliteDb();
  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;

  const std::string& path() const { return path_; }
  // Compiles a statement of this connection; kept by the caller, since this costs more than a step.
  Result<SqliteStatement> prepare(std::string_view sql);

  // Runs `work`, and repeats it while others' locks are in its way, until the deadline.
  template <class T>
  Result<T> read(TimePoint deadline, const std::function<Result<T>()>& work) {
    return until(deadline, work);
  }
  // The same as one write transaction, which is rolled back if `work` fails or calls keep(false).
  // `work` may run several times.
  template <class T>
  Result<T> write(TimePoint deadline, const std::function<Result<T>()>& work) {
    return until<T>(deadline, [&]() -> Result<T> {
      if (auto ok = exec("BEGIN IMMEDIATE"); !ok) return fail(std::move(ok.error()));
      keep_ = true;
      auto result = work();
      if (result && keep_) {
        if (auto ok = exec("COMMIT"); !ok) result = fail(std::move(ok.error()));
      }
      return result;
    });
  }
  void keep(bool keep) { keep_ = keep; }

  // Puts everything that was committed, by this connection or another one, into the database's main
  // file, syncs that, and empties the -wal file: after this, nothing is lost with the -wal. Waits
  // until nobody reads what is in the -wal. On an error what was committed may be there in part.
  Result<void> merge(TimePoint deadline);

  // kUnavailable if the path no longer refers to the open files: they were deleted, replaced or
  // moved. What is missing in the open files may exist in the new ones.
  Result<void> check_in_place() const;

 private:
  friend class SqliteStatement;
  struct Close {
    void operator()(sqlite3* db) const;
  };
  struct FileId {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const FileId&) const = default;
  };
  enum class Kind { kEmpty, kOurs };

  SqliteDb(const Clock& clock, std::string path) : clock_(clock), path_(std::move(path)) {}

  template <class T>
  Result<T> until(TimePoint deadline, const std::function<Result<T>()>& work) {
    start_call(deadline);
    for (;;) {
      auto result = work();
      roll_back();
      if (result || !busy_ || !wait_for_others()) return result;
    }
  }
  void start_call(TimePoint deadline);
  void roll_back();
  bool wait_for_others();

  Result<void> set_up(const Schema& schema, Empty empty);
  Result<Kind> identify(const Schema& schema);
  Result<void> make(const Schema& schema);
  Result<void> exec(const std::string& sql);
  Result<std::string> query(std::string_view sql);
  Error error(int code);
  Result<std::array<FileId, 3>> files() const;
  bool log_was_replaced() const;

  const Clock& clock_;
  std::string path_;
  TimePoint deadline_;
  unsigned waits_ = 0;
  bool busy_ = false;  // the last error was another's lock
  bool keep_ = true;
  std::array<FileId, 3> files_;
  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace keyfs
