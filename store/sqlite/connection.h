// The statements of the SQLite store over one connection. See store/sqlite/store.h.
//
// Thread-safety: none; used by one thread. Blocking: every call, until its deadline.
// Errors: as in store/sqlite/db.h, and kCorrupt for a record that does not parse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/sqlite/board_rows.h"
#include "store/sqlite/db.h"
#include "store/store.h"

namespace keyfs {

class SqliteConnection {
 public:
  // `may_make`: creates a database that does not exist; without, that is kUnavailable.
  static Result<std::unique_ptr<SqliteConnection>> open(const Clock& clock, std::string path,
                                                        TimePoint deadline, bool may_make);

  // The random id that the database was created with.
  Result<std::string> store_id(TimePoint deadline);
  // From now on every write, every miss and every record with an origin is checked against this
  // database id.
  void bind_to(std::string store_id) { own_id_ = std::move(store_id); }
  // These as in store/store.h, over text and number instead of record and revision.
  Result<std::optional<Stored>> get(const std::string& id, TimePoint deadline);
  // `json` is the text of `record`.
  Result<PutResult> put_if_absent(const Record& record, const std::string& json,
                                  TimePoint deadline);
  Result<std::optional<Stored>> replace(const Record& record, const std::string& json,
                                        int64_t revision, TimePoint deadline);
  Result<ListPage> list(const std::string& after, size_t limit, TimePoint deadline);
  // The highest revision there is; 0 without a record.
  Result<int64_t> last_revision(TimePoint deadline);
  // What was written after `after` and still is what was written last, at most `limit` of it, in
  // the order of the writes.
  struct Change {
    int64_t revision = 0;
    std::string id;
    std::optional<Stored> stored;  // nullopt: the record does not parse
  };
  Result<std::vector<Change>> changes(int64_t after, size_t limit, TimePoint deadline);
  // How many records there are; walks all of them.
  Result<int64_t> count(TimePoint deadline);
  // Takes the write lock, writes, and rolls back.
  Result<void> try_write(TimePoint deadline);
  SqliteBoardRows& board() { return *board_; }

 private:
  SqliteConnection() = default;
  Result<std::optional<Stored>> find(const std::string& id);
  Result<int64_t> next_revision();
  Result<std::string> read_store_id();
  Result<void> check_same_store();

  std::unique_ptr<SqliteDb> db_;
  std::string own_id_;
  SqliteStatement find_;
  SqliteStatement list_;
  SqliteStatement last_revision_;
  SqliteStatement changes_;
  SqliteStatement insert_;
  SqliteStatement update_;
  SqliteStatement count_;
  SqliteStatement store_id_;
  SqliteStatement touch_;
  std::optional<SqliteBoardRows> board_;
};

}  // namespace keyfs
