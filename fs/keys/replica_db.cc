#include "fs/keys/replica_db.h"

#include <utility>

namespace keyfs {
namespace {

constexpr int32_t kApplicationId = 0x6b667272;  // "kfrr"

const char* const kSchema =
    "CREATE TABLE records (id TEXT PRIMARY KEY, json TEXT NOT NULL, revision TEXT NOT NULL,"
    " confirmed INTEGER NOT NULL, doubted INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE live (one INTEGER PRIMARY KEY CHECK (one = 1), since INTEGER NOT NULL,"
    " until INTEGER NOT NULL);"
    "INSERT INTO live VALUES (1, 0, -1);";

}  // namespace

Result<std::unique_ptr<ReplicaDb>> ReplicaDb::open(const Clock& clock, const std::string& path) {
  std::unique_ptr<ReplicaDb> db(new ReplicaDb(clock));
  auto opened = SqliteDb::open(clock, path, {kApplicationId, 1, kSchema}, db->deadline());
  if (!opened) return fail(std::move(opened.error()));
  db->db_ = std::move(*opened);
  const auto prepare = [&](SqliteStatement& statement, const char* sql) -> Result<void> {
    auto prepared = db->db_->prepare(sql);
    if (!prepared) return fail(std::move(prepared.error()));
    statement = std::move(*prepared);
    return {};
  };
  for (const auto& [statement, sql] :
       std::initializer_list<std::pair<SqliteStatement*, const char*>>{
           {&db->find_, "SELECT json, revision, confirmed, doubted FROM records WHERE id = ?1"},
           {&db->put_, "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, 0)"},
           {&db->doubt_,
            "UPDATE records SET doubted = 1, confirmed = max(confirmed, ?2) WHERE id = ?1"},
           {&db->live_, "SELECT since, until FROM live"},
           {&db->set_live_, "UPDATE live SET since = ?1, until = ?2"},
           {&db->settle_,
            "UPDATE records SET confirmed = ?2 WHERE doubted = 0 AND confirmed >= ?1 AND"
            " confirmed < ?2"}}) {
    if (auto ok = prepare(*statement, sql); !ok) return fail(std::move(ok.error()));
  }
  return db;
}

Result<void> ReplicaDb::run(SqliteStatement& statement) {
  auto stepped = statement.step();
  if (!stepped) return fail(std::move(stepped.error()));
  return {};
}

Result<std::optional<ReplicaDb::Row>> ReplicaDb::get(const std::string& id) {
  return db_->read<std::optional<Row>>(deadline(), [&]() -> Result<std::optional<Row>> {
    const SqliteReset reset(find_);
    find_.bind(1, id);
    auto found = find_.step();
    if (!found) return fail(std::move(found.error()));
    if (!*found) return std::optional<Row>();
    const auto json = find_.text(0);
    const auto revision = find_.text(1);
    if (!json || !revision) return fail(Code::kCorrupt, "a row of the replica is damaged");
    auto record = parse_record(*json, id);
    if (!record) return fail(std::move(record.error()));
    Row row;
    row.stored = {std::move(*record), std::string(*revision)};
    row.confirmed = find_.number(2);
    row.doubted = find_.number(3) != 0;
    return std::optional<Row>(std::move(row));
  });
}

Result<void> ReplicaDb::write(const std::vector<Write>& writes) {
  return db_->write<void>(deadline(), [&]() -> Result<void> {
    for (const Write& write : writes) {
      SqliteStatement& statement = write.json.empty() ? doubt_ : put_;
      const SqliteReset reset(statement);
      statement.bind(1, write.id);
      if (write.json.empty()) {
        statement.bind(2, write.confirmed);
      } else {
        statement.bind(2, write.json);
        statement.bind(3, write.revision);
        statement.bind(4, write.confirmed);
      }
      if (auto ok = run(statement); !ok) return ok;
    }
    return {};
  });
}

Result<LiveTime> ReplicaDb::live_time() {
  return db_->read<LiveTime>(deadline(), [&]() -> Result<LiveTime> {
    const SqliteReset reset(live_);
    auto found = live_.step();
    if (!found) return fail(std::move(found.error()));
    if (!*found) return LiveTime{};
    return LiveTime{live_.number(0), live_.number(1)};
  });
}

Result<void> ReplicaDb::set_live_time(LiveTime live) {
  return db_->write<void>(deadline(), [&]() -> Result<void> {
    const SqliteReset reset(set_live_);
    set_live_.bind(1, live.since);
    set_live_.bind(2, live.until);
    return run(set_live_);
  });
}

Result<void> ReplicaDb::settle(LiveTime live) {
  return db_->write<void>(deadline(), [&]() -> Result<void> {
    const SqliteReset reset(settle_);
    settle_.bind(1, live.since);
    settle_.bind(2, live.until);
    return run(settle_);
  });
}

}  // namespace keyfs
