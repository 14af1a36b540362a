#include "fs/keys/replica_db.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "fs/keys/record_memory.h"

namespace keyfs {
namespace {

constexpr int32_t kApplicationId = 0x6b667272;  // "kfrr"

const char* const kSchema =
    "CREATE TABLE records (id TEXT PRIMARY KEY, json TEXT NOT NULL, revision TEXT NOT NULL,"
    " confirmed INTEGER NOT NULL, doubted INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE live (one INTEGER PRIMARY KEY CHECK (one = 1), since INTEGER NOT NULL,"
    " until INTEGER NOT NULL);"
    "INSERT INTO live VALUES (1, 0, -1);";

// A second copy of each id, in a tree of its own: a row whose id, or the way to it, was damaged is
// still known by this one.
const char* const kIndex = "CREATE INDEX records_by_id ON records (id)";
const char* const kInIndex = "SELECT 1 FROM records INDEXED BY records_by_id WHERE id = ?1";
// Without it: reads all rows, for one whose record names the id. (SQLite does not take an index by
// what the record says from a file that it is not to trust.)
#define KEYFS_NAMED_ID \
  "CASE WHEN json_valid(json) THEN coalesce(json_extract(json, '$.id'), id) ELSE id END"
const char* const kInRecord = "SELECT 1 FROM records WHERE " KEYFS_NAMED_ID " = ?1 LIMIT 1";
const char* const kMisnamed = "SELECT count(*) FROM records WHERE " KEYFS_NAMED_ID " <> id";
#undef KEYFS_NAMED_ID

Error damaged_row(const std::string& id) {
  return {Code::kCorrupt, "the row of key " + id + " in the replica is damaged"};
}

}  // namespace

const char* row_of(Sighting what) { return what == Sighting::kRkms ? kSeenRkms : kSeenUnproven; }

bool only_seen(std::string_view json) { return json == kSeenRkms || json == kSeenUnproven; }

bool tells_more(std::string_view before, std::string_view now) {
  return before == kSeenRkms && now == kSeenUnproven;
}

Error seen_unproven(const std::string& id) {
  return {Code::kCorrupt, "a record of key " + id +
                              " was seen on this host, damaged or without reading its key, so that "
                              "nothing else is known of it"};
}

Result<Record> record_of_row(std::string_view json, const std::string& id) {
  if (!only_seen(json)) return parse_record(json, id);
  Record record;
  record.id = id;
  record.from_rkms = true;
  return record;
}

Error replica_damaged(const std::string& path) {
  return {Code::kUnavailable, "what this host has seen is in " + path +
                                  ", which is damaged; restart keyfs, which sets the file "
                                  "aside. Once the store holds everything that it should, remove " +
                                  path + ".damaged and restart keyfs again"};
}

Result<void> ReplicaDb::begin(const Clock& clock, const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return {};
  const std::string draft = path + ".new." + std::to_string(::getpid());
  const auto drop = [&draft] {
    for (const char* end : {"", "-wal", "-shm"}) ::unlink((draft + end).c_str());
  };
  drop();
  {
    // Closed by the end of this block, which puts all of it into the one file.
    const auto made = open(clock, draft, SqliteDb::Empty::kNew);
    if (!made) {
      drop();
      return fail(made.error());
    }
  }
  const bool linked = ::link(draft.c_str(), path.c_str()) == 0 || errno == EEXIST;
  const Error error = os_error(path, "cannot be made");
  drop();
  if (!linked) return fail(error);
  (void)sync_directory(directory_of(path));
  return {};
}

Result<std::unique_ptr<ReplicaDb>> ReplicaDb::open(const Clock& clock, const std::string& path) {
  return open(clock, path, SqliteDb::Empty::kLost);
}

Result<std::unique_ptr<ReplicaDb>> ReplicaDb::open(const Clock& clock, const std::string& path,
                                                   SqliteDb::Empty empty) {
  std::unique_ptr<ReplicaDb> db(new ReplicaDb(clock));
  auto opened = SqliteDb::open(clock, path, {kApplicationId, 1, kSchema}, db->deadline(), empty);
  if (!opened) return fail(std::move(opened.error()));
  db->db_ = std::move(*opened);
  // What counts is what merge() has synced: the -wal before it is copied, the main file after it.
  auto sync = db->db_->prepare("PRAGMA synchronous = NORMAL");
  if (!sync) return fail(std::move(sync.error()));
  if (auto ok = db->run(*sync); !ok) return fail(std::move(ok.error()));
  const auto prepare = [&](SqliteStatement& statement, const char* sql) -> Result<void> {
    auto prepared = db->db_->prepare(sql);
    if (!prepared) return fail(std::move(prepared.error()));
    statement = std::move(*prepared);
    return {};
  };
  if (auto ok = prepare(db->misnamed_, kMisnamed); !ok) return fail(std::move(ok.error()));
  // Where the index can't be made now (the disk is full, or others are writing), each question that
  // needs it reads all rows.
  const auto indexed = db->index();
  if (!indexed && indexed.error().code == Code::kCorrupt) return fail(indexed.error());
  for (const auto& [statement, sql] :
       std::initializer_list<std::pair<SqliteStatement*, const char*>>{
           {&db->named_, indexed && *indexed ? kInIndex : kInRecord},
           {&db->find_, "SELECT json, revision, confirmed, doubted FROM records WHERE id = ?1"},
           {&db->put_, "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5)"},
           {&db->doubt_,
            "UPDATE records SET doubted = 1, confirmed = max(confirmed, ?2) WHERE id = ?1"},
           {&db->live_, "SELECT since, until FROM live"},
           {&db->set_live_, "UPDATE live SET since = ?1, until = ?2"},
           {&db->settle_,
            "UPDATE records SET confirmed = ?2 WHERE doubted = 0 AND confirmed >= ?1 AND"
            " confirmed < ?2"},
           {&db->take_out_, "DELETE FROM records WHERE id = ?1"},
           {&db->ids_, "SELECT id FROM records ORDER BY id LIMIT ?1"},
           {&db->origins_,
            "SELECT DISTINCT CASE WHEN json_valid(json) THEN"
            " coalesce(json_extract(json, '$.origin'), '') END FROM records"
            " WHERE json NOT IN (?1, ?2) ORDER BY 1"}}) {
    if (auto ok = prepare(*statement, sql); !ok) return fail(std::move(ok.error()));
  }
  return db;
}

// An older keyfs made none, and keeps one that is there. It is made once, of ids that are right.
Result<bool> ReplicaDb::index() {
  auto look = db_->prepare("SELECT 1 FROM sqlite_schema WHERE name = 'records_by_id'");
  if (!look) return fail(std::move(look.error()));
  auto there = db_->read<bool>(deadline(), [&]() -> Result<bool> {
    const SqliteReset reset(*look);
    return look->step();
  });
  if (!there || *there) return there;
  auto make = db_->prepare(kIndex);
  if (!make) return fail(std::move(make.error()));
  const TimePoint soon = clock_.now() + std::chrono::milliseconds(200);
  return db_->write<bool>(soon, [&]() -> Result<bool> {
    const auto wrong = count_misnamed();
    if (!wrong) return fail(wrong.error());
    if (*wrong != 0) return false;
    const SqliteReset reset(*make);
    auto made = make->step();
    if (!made) return fail(std::move(made.error()));
    return true;
  });
}

Error ReplicaDb::told(Error error) {
  if (error.code != Code::kCorrupt) return error;
  damaged_.store(true, std::memory_order_relaxed);
  return replica_damaged(db_->path());
}

Result<void> ReplicaDb::in_place() const {
  if (db_->check_in_place()) return {};
  return fail(Code::kUnavailable,
              db_->path() +
                  ": was removed or replaced while keyfs had it open, so that what is seen now "
                  "would be forgotten: no key is made. Put the old file back, or restart keyfs, "
                  "which then remembers only what the new one holds");
}

Result<void> ReplicaDb::run(SqliteStatement& statement) {
  auto stepped = statement.step();
  if (!stepped) return fail(told(std::move(stepped.error())));
  return {};
}

template <class T>
Result<T> ReplicaDb::keep(const std::function<Result<T>()>& work) {
  const TimePoint end = deadline();
  auto done = db_->write<T>(end, [&]() -> Result<T> {
    if (auto ok = in_place(); !ok) return fail(std::move(ok.error()));
    return work();
  });
  if (!done) return done;
  if (auto ok = merge(end); !ok) return fail(std::move(ok.error()));
  return done;
}

Result<void> ReplicaDb::merge() { return merge(deadline()); }

Result<void> ReplicaDb::merge(TimePoint deadline) {
  if (auto ok = in_place(); !ok) return ok;
  if (auto ok = db_->merge(deadline); !ok) return fail(told(std::move(ok.error())));
  // Whoever found new files in the meantime does not know what was merged from the old ones.
  return in_place();
}

Result<std::optional<ReplicaDb::Row>> ReplicaDb::get(const std::string& id) {
  return db_->read<std::optional<Row>>(deadline(), [&]() -> Result<std::optional<Row>> {
    const SqliteReset reset(find_);
    find_.bind(1, id);
    auto found = find_.step();
    if (!found) return fail(told(std::move(found.error())));
    if (!*found) {
      // What others noted since is in the file that has the name now.
      if (auto ok = in_place(); !ok) return fail(std::move(ok.error()));
      const SqliteReset reset_named(named_);
      named_.bind(1, id);
      auto named = named_.step();
      if (!named) return fail(told(std::move(named.error())));
      if (*named) return fail(damaged_row(id));
      return std::optional<Row>();
    }
    const auto json = find_.text(0);
    const auto revision = find_.text(1);
    if (!json || !revision) return fail(damaged_row(id));
    auto record = record_of_row(*json, id);
    if (!record) return fail(std::move(record.error()));
    Row row;
    row.stored = {std::move(*record), std::string(*revision)};
    row.confirmed = find_.number(2);
    row.doubted = find_.number(3) != 0;
    row.unproven = *json == kSeenUnproven;
    return std::optional<Row>(std::move(row));
  });
}

Result<std::vector<std::string>> ReplicaDb::texts_of(SqliteStatement& statement,
                                                     const std::function<void()>& bind) {
  using Texts = std::vector<std::string>;
  return db_->read<Texts>(deadline(), [&]() -> Result<Texts> {
    const SqliteReset reset(statement);
    bind();  // each time: reset() takes the values away, and a read may be tried several times
    Texts all;
    for (;;) {
      auto found = statement.step();
      if (!found) return fail(told(std::move(found.error())));
      if (!*found) return all;
      const auto text = statement.text(0);
      if (!text) return fail(Code::kCorrupt, db_->path() + ": a row of it is damaged");
      all.emplace_back(*text);
    }
  });
}

Result<std::vector<std::string>> ReplicaDb::ids(size_t limit) {
  return texts_of(ids_, [&] { ids_.bind(1, static_cast<int64_t>(limit)); });
}

Result<std::vector<std::string>> ReplicaDb::origins() {
  auto all = texts_of(origins_, [&] {
    origins_.bind(1, std::string_view(kSeenRkms));
    origins_.bind(2, std::string_view(kSeenUnproven));
  });
  if (all) std::erase(*all, "");
  return all;
}

Result<int64_t> ReplicaDb::count_misnamed() {
  const SqliteReset reset(misnamed_);
  auto counted = misnamed_.step();
  if (!counted) return fail(std::move(counted.error()));
  return *counted ? misnamed_.number(0) : 0;
}

Result<int64_t> ReplicaDb::misnamed() {
  return db_->read<int64_t>(deadline(), [&]() -> Result<int64_t> {
    auto counted = count_misnamed();
    if (!counted) return fail(told(std::move(counted.error())));
    return counted;
  });
}

Result<void> ReplicaDb::prove() {
  // A row that nobody sees: writing an unchanged value would write nothing.
  return keep<void>([&]() -> Result<void> {
    const auto put_in = put({"", kSeenRkms, "", 0});
    if (!put_in) return fail(put_in.error());
    const SqliteReset reset(take_out_);
    take_out_.bind(1, "");
    return run(take_out_);
  });
}

Result<bool> ReplicaDb::put(const Write& write) {
  int64_t confirmed = write.confirmed;
  bool doubted = false;
  {
    const SqliteReset reset(find_);
    find_.bind(1, write.id);
    auto found = find_.step();
    if (!found) return fail(told(std::move(found.error())));
    const auto there = *found ? find_.text(0) : std::nullopt;
    // Whatever is there says so already, even if it is damaged.
    if (*found && only_seen(write.json) && !tells_more(there.value_or(""), write.json)) return true;
    if (there && *there != write.json) {
      // A damaged row says nothing that a record could go back from.
      const auto before = record_of_row(*there, write.id);
      const auto now = record_of_row(write.json, write.id);
      if (before && now && goes_back(*before, *now)) return false;
    }
    if (there && !write.strong) {
      confirmed = find_.number(2);
      doubted = find_.number(3) != 0;
    }
  }
  const SqliteReset reset(put_);
  put_.bind(1, write.id);
  put_.bind(2, write.json);
  put_.bind(3, write.revision);
  put_.bind(4, confirmed);
  put_.bind(5, static_cast<int64_t>(doubted));
  if (auto ok = run(put_); !ok) return fail(std::move(ok.error()));
  return true;
}

Result<std::vector<std::string>> ReplicaDb::write(const std::vector<Write>& writes) {
  using Ids = std::vector<std::string>;
  return keep<Ids>([&]() -> Result<Ids> {
    Ids refused;
    for (const Write& write : writes) {
      if (!write.json.empty()) {
        const auto done = put(write);
        if (!done) return fail(done.error());
        if (!*done) refused.push_back(write.id);
      }
      if (!write.doubted) continue;
      const SqliteReset reset(doubt_);
      doubt_.bind(1, write.id);
      doubt_.bind(2, write.confirmed);
      if (auto ok = run(doubt_); !ok) return fail(std::move(ok.error()));
    }
    return refused;
  });
}

Result<LiveTime> ReplicaDb::live_time() {
  return db_->read<LiveTime>(deadline(), [&]() -> Result<LiveTime> {
    const SqliteReset reset(live_);
    auto found = live_.step();
    if (!found) return fail(told(std::move(found.error())));
    if (!*found) return LiveTime{};
    return LiveTime{live_.number(0), live_.number(1)};
  });
}

Result<void> ReplicaDb::set_live_time(LiveTime live) {
  return keep<void>([&]() -> Result<void> {
    const SqliteReset reset(set_live_);
    set_live_.bind(1, live.since);
    set_live_.bind(2, live.until);
    return run(set_live_);
  });
}

Result<void> ReplicaDb::settle(LiveTime live) {
  return keep<void>([&]() -> Result<void> {
    const SqliteReset reset(settle_);
    settle_.bind(1, live.since);
    settle_.bind(2, live.until);
    return run(settle_);
  });
}

}  // namespace keyfs
