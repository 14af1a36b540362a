// The board of an SQLite store: a table in the same file, on the same two threads.
//
// Other processes' changes are looked for once a second, and more often just after one, which reads
// one row; watch() tells of them as a gap.
//
// Thread-safety, blocking, errors: as in store/board.h and store/sqlite/store.h. Ownership: the
// store owns it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/board.h"

namespace keyfs {

class SqliteStore;

class SqliteBoard final : public Board {
 public:
  explicit SqliteBoard(SqliteStore& store) : store_(store) {}

  Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) override;
  Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) override;
  Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                         TimePoint deadline) override;
  Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                   TimePoint deadline) override;
  Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                  TimePoint deadline) override;
  Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                               TimePoint deadline) override;
  bool can_watch() const override { return true; }
  Task<void> watch(BoardListener& listener) override;
  Task<std::vector<CheckItem>> check(TimePoint deadline) override;

 private:
  Task<Result<std::string>> changed(TimePoint deadline);

  SqliteStore& store_;
};

}  // namespace keyfs
