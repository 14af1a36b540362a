// The statements of the board over one connection to the store's database.
//
// The table `board` (name, document, revision) is made by the first write, so that a database whose
// host never rotates stays as it is; keyfs versions without a board do not mind it. Every write
// also puts its mark into `meta` under "board_changed".
//
// Thread-safety: none; used by one thread. Ownership: the connection owns it. Blocking: every call,
// until its deadline. Errors: as in store/sqlite/connection.h; kCorrupt for what is no document.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "store/board.h"
#include "store/sqlite/db.h"

namespace keyfs {

class SqliteBoardRows {
 public:
  // `same_store` checks, within a transaction, that the database is the one that was opened.
  SqliteBoardRows(SqliteDb& db, std::function<Result<void>()> same_store)
      : db_(db), same_store_(std::move(same_store)) {}

  // These as in store/board.h, with names and texts that were checked.
  Result<std::optional<BoardDocument>> get(const std::string& name, TimePoint deadline);
  Result<BoardWrite> put_if_absent(const std::string& name, const std::string& text,
                                   TimePoint deadline);
  Result<BoardWrite> replace(const std::string& name, const std::string& text,
                             const std::string& revision, TimePoint deadline);
  Result<BoardWrite> remove(const std::string& name, const std::string& revision,
                            TimePoint deadline);
  Result<BoardPage> list(const std::string& prefix, const std::string& after, size_t limit,
                         TimePoint deadline);
  // The mark of the newest write of any document; empty: there was none.
  Result<std::string> changed(TimePoint deadline);
  Result<int64_t> count(TimePoint deadline);

 private:
  // Whether there is a table; then the statements are ready.
  Result<bool> ready();
  // Makes the table if there is none.
  Result<void> make(TimePoint deadline);
  Result<std::optional<BoardDocument>> find(const std::string& name);
  Result<void> run(SqliteStatement& statement);
  // One write transaction: what `write` does to what is there, if it is permitted by that.
  using Write = std::function<Result<bool>(const std::optional<BoardDocument>& there,
                                           const std::string& mark)>;
  Result<BoardWrite> write(const std::string& name, const Write& write, TimePoint deadline);
  template <class T>
  Result<T> read(TimePoint deadline, const std::function<Result<T>()>& work);

  SqliteDb& db_;
  std::function<Result<void>()> same_store_;
  bool ready_ = false;
  SqliteStatement find_;
  SqliteStatement list_;
  SqliteStatement put_;
  SqliteStatement remove_;
  SqliteStatement mark_;
  SqliteStatement note_;
  SqliteStatement changed_;
  SqliteStatement count_;
};

}  // namespace keyfs
