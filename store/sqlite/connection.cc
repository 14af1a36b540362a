#include "store/sqlite/connection.h"

#include <utility>

#include "store/known_store.h"
#include "store/list_entry.h"

namespace keyfs {
namespace {

const SqliteDb::Schema& schema() {
  static const SqliteDb::Schema schema{
      0x4b455946,  // "KEYF"
      1,
      "CREATE TABLE records("
      "  id TEXT NOT NULL PRIMARY KEY,"
      "  record TEXT NOT NULL,"
      "  revision INTEGER NOT NULL UNIQUE"
      ") STRICT;"
      "CREATE TABLE meta("
      "  name TEXT NOT NULL PRIMARY KEY,"
      "  value TEXT NOT NULL"
      ") STRICT;"
      "INSERT INTO meta VALUES('store_id', lower(hex(randomblob(16))));"};
  return schema;
}

Result<Record> parse_column(const std::optional<std::string_view>& text, const std::string& id,
                            const std::string& store_id) {
  if (!text) return fail(Code::kCorrupt, "record of key " + id + " is corrupt: is not text");
  return parse_own_record(*text, id, store_id);
}

}  // namespace

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open(const Clock& clock,
                                                                 std::string path,
                                                                 TimePoint deadline,
                                                                 bool may_make) {
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection);
  const auto empty = may_make ? SqliteDb::Empty::kNew : SqliteDb::Empty::kMissing;
  auto db = SqliteDb::open(clock, std::move(path), schema(), deadline, empty);
  if (!db) return fail(std::move(db.error()));
  connection->db_ = std::move(*db);
  const std::pair<SqliteStatement*, std::string_view> statements[] = {
      {&connection->find_, "SELECT record, revision FROM records WHERE id = ?1"},
      {&connection->list_, "SELECT id, record FROM records WHERE id > ?1 ORDER BY id LIMIT ?2"},
      {&connection->last_revision_, "SELECT coalesce(max(revision), 0) FROM records"},
      {&connection->changes_,
       "SELECT id, record, revision FROM records WHERE revision > ?1 ORDER BY revision LIMIT ?2"},
      {&connection->insert_, "INSERT INTO records(id, record, revision) VALUES(?1, ?2, ?3)"},
      {&connection->update_,
       "UPDATE records SET record = ?2, revision = ?3 WHERE id = ?1 AND revision = ?4 "
       "RETURNING id"},
      {&connection->count_, "SELECT count(*) FROM records"},
      {&connection->store_id_, "SELECT value FROM meta WHERE name = 'store_id'"},
      {&connection->touch_, "UPDATE meta SET value = value WHERE name = 'store_id'"},
  };
  for (const auto& [statement, sql] : statements) {
    auto prepared = connection->db_->prepare(sql);
    if (!prepared) return fail(std::move(prepared.error()));
    *statement = std::move(*prepared);
  }
  connection->board_.emplace(*connection->db_,
                             [self = connection.get()] { return self->check_same_store(); });
  return connection;
}

Result<std::string> SqliteConnection::store_id(TimePoint deadline) {
  return db_->read<std::string>(deadline, [&] { return read_store_id(); });
}

Result<std::string> SqliteConnection::read_store_id() {
  SqliteReset reset(store_id_);
  const auto row = store_id_.step();
  if (!row) return fail(row.error());
  const auto id = *row ? store_id_.text(0) : std::nullopt;
  if (!id || id->empty()) {
    return fail(Code::kCorrupt, db_->path() + ": is damaged: it has no store_id");
  }
  return std::string(*id);
}

// The file may have been overwritten in place, and so have the same inode.
Result<void> SqliteConnection::check_same_store() {
  const auto id = read_store_id();
  if (!id) return fail(id.error());
  if (*id == own_id_) return {};
  return fail(Code::kInvalid, db_->path() +
                                  ": is not the store that keyfs opened; ids could get a second "
                                  "key. Restore the old database and restart keyfs");
}

Result<std::optional<Stored>> SqliteConnection::find(const std::string& id) {
  SqliteReset reset(find_);
  find_.bind(1, id);
  const auto row = find_.step();
  if (!row) return fail(row.error());
  if (!*row) return std::nullopt;
  const auto text = find_.text(0);
  auto record = parse_column(text, id, own_id_);
  if (!record) return fail(std::move(record.error()));
  return Stored{std::move(*record), std::to_string(find_.number(1)), std::string(*text)};
}

Result<int64_t> SqliteConnection::next_revision() {
  SqliteReset reset(last_revision_);
  const auto row = last_revision_.step();
  if (!row) return fail(row.error());
  return last_revision_.number(0) + 1;
}

Result<std::optional<Stored>> SqliteConnection::get(const std::string& id, TimePoint deadline) {
  auto found = db_->read<std::optional<Stored>>(deadline, [&]() -> Result<std::optional<Stored>> {
    auto row = find(id);
    if (!row || *row) return row;
    if (auto ok = check_same_store(); !ok) return fail(std::move(ok.error()));
    return row;
  });
  if (!found && found.error().code != Code::kCorrupt) return found;
  // After the read: if the file was replaced before it, the answer does not count.
  if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
  return found;
}

Result<PutResult> SqliteConnection::put_if_absent(const Record& record, const std::string& json,
                                                  TimePoint deadline) {
  auto put = db_->write<PutResult>(deadline, [&]() -> Result<PutResult> {
    if (auto ok = check_same_store(); !ok) return fail(std::move(ok.error()));
    // With the write lock held nobody else comes between the check and the insert.
    auto found = find(record.id);
    if (!found) return fail(std::move(found.error()));
    if (*found) {
      db_->keep(false);
      return PutResult{false, std::move(**found)};
    }
    if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
    const auto revision = next_revision();
    if (!revision) return fail(revision.error());
    SqliteReset reset(insert_);
    insert_.bind(1, record.id);
    insert_.bind(2, json);
    insert_.bind(3, *revision);
    if (const auto row = insert_.step(); !row) return fail(row.error());
    return PutResult{true, Stored{record, std::to_string(*revision)}};
  });
  if (!put) return put;
  // Never acknowledge a write to a file that others no longer see.
  if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
  return put;
}

Result<std::optional<Stored>> SqliteConnection::replace(const Record& record,
                                                        const std::string& json, int64_t revision,
                                                        TimePoint deadline) {
  auto replaced =
      db_->write<std::optional<Stored>>(deadline, [&]() -> Result<std::optional<Stored>> {
        if (auto ok = check_same_store(); !ok) return fail(std::move(ok.error()));
        const auto next = next_revision();
        if (!next) return fail(next.error());
        SqliteReset reset(update_);
        update_.bind(1, record.id);
        update_.bind(2, json);
        update_.bind(3, *next);
        update_.bind(4, revision);
        const auto row = update_.step();
        if (!row) return fail(row.error());
        if (!*row) {
          db_->keep(false);
          return std::nullopt;
        }
        if (const auto end = update_.step(); !end) return fail(end.error());
        return Stored{record, std::to_string(*next)};
      });
  if (!replaced) return replaced;
  if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
  return replaced;
}

Result<ListPage> SqliteConnection::list(const std::string& after, size_t limit,
                                        TimePoint deadline) {
  auto page = db_->read<ListPage>(deadline, [&]() -> Result<ListPage> {
    ListPage page;
    SqliteReset reset(list_);
    list_.bind(1, after);
    list_.bind(2, static_cast<int64_t>(limit) + 1);
    for (;;) {
      const auto row = list_.step();
      if (!row) return fail(row.error());
      if (!*row) return page;
      if (page.entries.size() == limit) {
        page.next = page.entries.back().id;
        return page;
      }
      const std::string id(list_.text(0).value_or(std::string_view()));
      page.entries.push_back(to_list_entry(id, parse_column(list_.text(1), id, own_id_)));
    }
  });
  if (!page) return page;
  if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
  return page;
}

Result<int64_t> SqliteConnection::last_revision(TimePoint deadline) {
  auto last = db_->read<int64_t>(deadline, [&]() -> Result<int64_t> {
    const auto next = next_revision();
    if (!next) return fail(next.error());
    return *next - 1;
  });
  if (!last) return last;
  if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
  return last;
}

Result<std::vector<SqliteConnection::Change>> SqliteConnection::changes(int64_t after, size_t limit,
                                                                        TimePoint deadline) {
  using Changes = std::vector<Change>;
  auto changes = db_->read<Changes>(deadline, [&]() -> Result<Changes> {
    Changes found;
    SqliteReset reset(changes_);
    changes_.bind(1, after);
    changes_.bind(2, static_cast<int64_t>(limit));
    for (;;) {
      const auto row = changes_.step();
      if (!row) return fail(row.error());
      if (!*row) return found;
      Change change;
      change.revision = changes_.number(2);
      change.id = changes_.text(0).value_or(std::string_view());
      const auto text = changes_.text(1);
      if (auto record = parse_column(text, change.id, own_id_)) {
        change.stored =
            Stored{std::move(*record), std::to_string(change.revision), std::string(*text)};
      }
      found.push_back(std::move(change));
    }
  });
  if (!changes) return changes;
  if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
  return changes;
}

Result<int64_t> SqliteConnection::count(TimePoint deadline) {
  auto count = db_->read<int64_t>(deadline, [&]() -> Result<int64_t> {
    SqliteReset reset(count_);
    const auto row = count_.step();
    if (!row) return fail(row.error());
    return count_.number(0);
  });
  if (!count) return count;
  if (auto ok = db_->check_in_place(); !ok) return fail(std::move(ok.error()));
  return count;
}

Result<void> SqliteConnection::try_write(TimePoint deadline) {
  const auto done = db_->write<bool>(deadline, [&]() -> Result<bool> {
    SqliteReset reset(touch_);
    if (const auto row = touch_.step(); !row) return fail(row.error());
    db_->keep(false);
    return true;
  });
  if (!done) return fail(done.error());
  return {};
}

}  // namespace keyfs
