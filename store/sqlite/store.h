// Records in an SQLite database: for one machine; several daemons may share the file.
//
// Layout (application_id "KEYF", user_version 1): table `records` with id, record (JSON text) and
// revision, a number that grows with every write to the table; table `meta` with the store's random
// id under "store_id". The board has a table of its own (store/sqlite/board_rows.h).
//
// Thread-safety: on the loop's thread, see store/store.h. Ownership: the store owns two threads,
// one that reads and one that writes, so that reads never queue behind a write that waits for
// another process. The loop outlives the store. Blocking: only open(), and the destructor, which
// waits for work that has begun. Durability: what put_if_absent and replace acknowledge is on disk.
// Errors: as in store/store.h and store/sqlite/db.h. If the file is moved, replaced or deleted
// while it is open, every call fails with kUnavailable: nothing counts as a miss any more. If
// another database was written over it, misses and writes fail with kInvalid.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/loop.h"
#include "store/sqlite/board.h"
#include "store/store.h"

namespace keyfs {

class SqliteConnection;

class SqliteStore final : public Store {
 public:
  // Creates the database if there is none and `may_make`. `path` is absolute. Blocks on the disk
  // and on others' locks, until `deadline`; call it after the last fork (store/sqlite/db.h).
  static Result<std::unique_ptr<SqliteStore>> open(Loop& loop, const std::string& path,
                                                   TimePoint deadline, bool may_make = true);
  ~SqliteStore() override;

  // The random id that the database was created with.
  const std::string& store_id() const { return store_id_; }

  Task<Result<std::string>> identity(TimePoint deadline) override;
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override;
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override;
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override;
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override;
  Board* board() override { return &board_; }
  Task<StoreCheck> check(TimePoint deadline) override;
  // Announces what keyfs has written, this process or another one, within kWatchEvery. It is never
  // live: a row that somebody edits or removes by other means may not be seen here.
  bool can_watch() const override { return true; }
  Task<void> watch(ChangeListener& listener) override;
  static constexpr Duration kWatchEvery = std::chrono::seconds(1);

 private:
  friend class SqliteBoard;
  struct Thread;

  SqliteStore(Loop& loop, std::string path);
  template <class T>
  Task<Result<T>> run(Thread& thread, std::string what, TimePoint deadline,
                      std::function<Result<T>(SqliteConnection&, TimePoint)> work);
  // Announces what was written after `last`, if that is known, and sets it to the newest.
  Task<void> look(ChangeListener& listener, std::optional<int64_t>& last);

  Loop& loop_;
  std::string path_;
  std::string store_id_;
  SqliteBoard board_;
  std::unique_ptr<Thread> reader_;
  std::unique_ptr<Thread> writer_;
};

}  // namespace keyfs
