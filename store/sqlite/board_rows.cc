#include "store/sqlite/board_rows.h"

#include <utility>

namespace keyfs {
namespace {

Result<BoardDocument> to_document(const SqliteStatement& row, const std::string& name) {
  const auto text = row.text(1);
  const auto revision = row.text(2);
  if (!text || text->size() > kMaxDocumentBytes || !revision || revision->empty()) {
    return fail(Code::kCorrupt, "the document " + name + " on the board is damaged");
  }
  return BoardDocument{name, std::string(*text), std::string(*revision)};
}

}  // namespace

Result<void> SqliteBoardRows::run(SqliteStatement& statement) {
  for (;;) {
    const auto row = statement.step();
    if (!row) return fail(row.error());
    if (!*row) return {};
  }
}

Result<bool> SqliteBoardRows::ready() {
  if (ready_) return true;
  auto table = db_.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'board'");
  if (!table) return fail(std::move(table.error()));
  const auto there = table->step();
  if (!there) return fail(there.error());
  if (!*there) return false;
  const std::pair<SqliteStatement*, std::string_view> statements[] = {
      {&find_, "SELECT name, document, revision FROM board WHERE name = ?1"},
      {&list_,
       "SELECT name, document, revision FROM board WHERE name > ?1 AND name >= ?2 AND name < ?3 "
       "ORDER BY name LIMIT ?4"},
      {&put_,
       "INSERT INTO board(name, document, revision) VALUES(?1, ?2, ?3) ON CONFLICT(name) DO UPDATE "
       "SET document = excluded.document, revision = excluded.revision"},
      {&remove_, "DELETE FROM board WHERE name = ?1"},
      {&mark_, "SELECT lower(hex(randomblob(16)))"},
      {&note_,
       "INSERT INTO meta(name, value) VALUES('board_changed', ?1) ON CONFLICT(name) DO UPDATE SET "
       "value = excluded.value"},
      {&changed_, "SELECT value FROM meta WHERE name = 'board_changed'"},
      {&count_, "SELECT count(*) FROM board"},
  };
  for (const auto& [statement, sql] : statements) {
    auto prepared = db_.prepare(sql);
    if (!prepared) return fail(std::move(prepared.error()));
    *statement = std::move(*prepared);
  }
  ready_ = true;
  return true;
}

// In a transaction of its own: one that fails would take the table with it.
Result<void> SqliteBoardRows::make(TimePoint deadline) {
  if (ready_) return {};
  const auto made = db_.write<bool>(deadline, [&]() -> Result<bool> {
    if (auto ok = same_store_(); !ok) return fail(std::move(ok.error()));
    auto create = db_.prepare(
        "CREATE TABLE IF NOT EXISTS board("
        "  name TEXT NOT NULL PRIMARY KEY,"
        "  document TEXT NOT NULL,"
        "  revision TEXT NOT NULL"
        ") STRICT");
    if (!create) return fail(std::move(create.error()));
    if (auto ok = run(*create); !ok) return fail(std::move(ok.error()));
    return true;
  });
  if (!made) return fail(made.error());
  const auto found = db_.read<bool>(deadline, [&] { return ready(); });
  if (!found) return fail(found.error());
  if (!*found) return fail(Code::kUnavailable, db_.path() + ": the board's table disappeared");
  return {};
}

template <class T>
Result<T> SqliteBoardRows::read(TimePoint deadline, const std::function<Result<T>()>& work) {
  auto result = db_.read<T>(deadline, [&]() -> Result<T> {
    if (auto ok = same_store_(); !ok) return fail(std::move(ok.error()));
    const auto table = ready();
    if (!table) return fail(table.error());
    if (!*table) return T{};
    return work();
  });
  if (!result && result.error().code != Code::kCorrupt) return result;
  // After the read: if the file was replaced before it, the answer does not count.
  if (auto ok = db_.check_in_place(); !ok) return fail(std::move(ok.error()));
  return result;
}

Result<std::optional<BoardDocument>> SqliteBoardRows::find(const std::string& name) {
  SqliteReset reset(find_);
  find_.bind(1, name);
  const auto row = find_.step();
  if (!row) return fail(row.error());
  if (!*row) return std::nullopt;
  auto document = to_document(find_, name);
  if (!document) return fail(std::move(document.error()));
  return std::move(*document);
}

Result<std::optional<BoardDocument>> SqliteBoardRows::get(const std::string& name,
                                                          TimePoint deadline) {
  return read<std::optional<BoardDocument>>(deadline, [&] { return find(name); });
}

Result<BoardWrite> SqliteBoardRows::write(const std::string& name, const Write& write,
                                          TimePoint deadline) {
  if (auto ok = make(deadline); !ok) return fail(std::move(ok.error()));
  auto written = db_.write<BoardWrite>(deadline, [&]() -> Result<BoardWrite> {
    if (auto ok = same_store_(); !ok) return fail(std::move(ok.error()));
    // With the write lock held nobody else comes between this and the write.
    auto there = find(name);
    if (!there) return fail(std::move(there.error()));
    SqliteReset reset(mark_);
    if (const auto row = mark_.step(); !row) return fail(row.error());
    const std::string mark(mark_.text(0).value_or(std::string_view()));
    const auto wrote = write(*there, mark);
    if (!wrote) return fail(wrote.error());
    if (!*wrote) {
      db_.keep(false);
      return BoardWrite{false, std::move(*there)};
    }
    if (auto ok = db_.check_in_place(); !ok) return fail(std::move(ok.error()));
    SqliteReset reset_note(note_);
    note_.bind(1, mark);
    if (auto ok = run(note_); !ok) return fail(std::move(ok.error()));
    auto now = find(name);
    if (!now) return fail(std::move(now.error()));
    return BoardWrite{true, std::move(*now)};
  });
  if (!written) return written;
  if (auto ok = db_.check_in_place(); !ok) return fail(std::move(ok.error()));
  return written;
}

Result<BoardWrite> SqliteBoardRows::put_if_absent(const std::string& name, const std::string& text,
                                                  TimePoint deadline) {
  const Write put = [&](const auto& there, const std::string& mark) -> Result<bool> {
    if (there) return false;
    SqliteReset reset(put_);
    put_.bind(1, name);
    put_.bind(2, text);
    put_.bind(3, mark);
    if (auto ok = run(put_); !ok) return fail(std::move(ok.error()));
    return true;
  };
  return write(name, put, deadline);
}

Result<BoardWrite> SqliteBoardRows::replace(const std::string& name, const std::string& text,
                                            const std::string& revision, TimePoint deadline) {
  const Write put = [&](const auto& there, const std::string& mark) -> Result<bool> {
    if (!there || there->revision != revision) return false;
    SqliteReset reset(put_);
    put_.bind(1, name);
    put_.bind(2, text);
    put_.bind(3, mark);
    if (auto ok = run(put_); !ok) return fail(std::move(ok.error()));
    return true;
  };
  return write(name, put, deadline);
}

Result<BoardWrite> SqliteBoardRows::remove(const std::string& name, const std::string& revision,
                                           TimePoint deadline) {
  bool absent = false;
  const Write take = [&](const auto& there, const std::string&) -> Result<bool> {
    absent = !there;
    if (!there || there->revision != revision) return false;
    SqliteReset reset(remove_);
    remove_.bind(1, name);
    if (auto ok = run(remove_); !ok) return fail(std::move(ok.error()));
    return true;
  };
  auto removed = write(name, take, deadline);
  if (removed && absent) removed->done = true;
  return removed;
}

Result<BoardPage> SqliteBoardRows::list(const std::string& prefix, const std::string& after,
                                        size_t limit, TimePoint deadline) {
  const std::string end = end_of_board_prefix(prefix);
  return read<BoardPage>(deadline, [&]() -> Result<BoardPage> {
    BoardPage page;
    std::string last;
    SqliteReset reset(list_);
    list_.bind(1, after);
    list_.bind(2, prefix);
    list_.bind(3, end);
    list_.bind(4, static_cast<int64_t>(limit) + 1);
    for (size_t rows = 0;; ++rows) {
      const auto row = list_.step();
      if (!row) return fail(row.error());
      if (!*row) return page;
      if (rows == limit) {
        page.next = last;
        return page;
      }
      last = list_.text(0).value_or(std::string_view());
      auto document = to_document(list_, last);
      if (document) {
        page.documents.push_back(std::move(*document));
      } else {
        page.corrupt.push_back(last);
      }
    }
  });
}

Result<std::string> SqliteBoardRows::changed(TimePoint deadline) {
  return read<std::string>(deadline, [&]() -> Result<std::string> {
    SqliteReset reset(changed_);
    const auto row = changed_.step();
    if (!row) return fail(row.error());
    return *row ? std::string(changed_.text(0).value_or(std::string_view())) : std::string();
  });
}

Result<int64_t> SqliteBoardRows::count(TimePoint deadline) {
  return read<int64_t>(deadline, [&]() -> Result<int64_t> {
    SqliteReset reset(count_);
    const auto row = count_.step();
    if (!row) return fail(row.error());
    return count_.number(0);
  });
}

}  // namespace keyfs
