#include "store/sqlite/db.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "base/deadline.h"
#include "base/private_file.h"
#include "base/retry.h"

namespace keyfs {
namespace {

constexpr Backoff kWaits{std::chrono::milliseconds(1), std::chrono::milliseconds(20)};

std::string errno_text(int number) { return std::generic_category().message(number); }

// File systems where SQLite's shared memory does not work, by statfs(2).
bool is_network_file_system(const std::string& path) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0) return false;
  switch (static_cast<uint32_t>(info.f_type)) {
    case 0x6969:      // NFS
    case 0x517b:      // SMB
    case 0xff534d42:  // CIFS
    case 0xfe534d42:  // SMB2
    case 0x00c36400:  // Ceph
    case 0x0bd00bd0:  // Lustre
    case 0x5346414f:  // AFS
      return true;
    default:
      return false;
  }
}

// The file is created with mknod, not open: closing a descriptor of it would drop the locks of
// other connections in this process.
Result<void> make_file(const std::string& path) {
  if (::mknod(path.c_str(), S_IFREG | 0600, 0) != 0) {
    const int why = errno;
    if (why == EEXIST) return {};
    const bool denied = why == EACCES || why == EPERM || why == EROFS;
    std::string text = path + ": cannot be created: " + errno_text(why);
    if (why == ENOENT) text = path + ": cannot be created: its directory does not exist";
    return fail(denied ? Code::kDenied : Code::kUnavailable, std::move(text));
  }
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    ::fsync(fd);  // best effort: SQLite syncs the directory again when it creates the WAL
    ::close(fd);
  }
  return {};
}

}  // namespace

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

void SqliteStatement::bind(int place, std::string_view text) {
  // A failure (no such parameter) shows as a NULL, which our constraints refuse.
  sqlite3_bind_text64(statement_.get(), place, text.data(), text.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
}

void SqliteStatement::bind(int place, int64_t number) {
  sqlite3_bind_int64(statement_.get(), place, number);
}

Result<bool> SqliteStatement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return fail(db_->error(code));
}

std::optional<std::string_view> SqliteStatement::text(int column) const {
  if (sqlite3_column_type(statement_.get(), column) != SQLITE_TEXT) return std::nullopt;
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (data == nullptr) return std::string_view();
  return std::string_view(static_cast<const char*>(data), static_cast<size_t>(size));
}

int64_t SqliteStatement::number(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

void SqliteStatement::reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

void SqliteDb::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }

SqliteDb::~SqliteDb() {
  // The last one to close merges the -wal that it has open. Others have gone on with another one
  // since: what is in the main file by now is theirs.
  if (db_ != nullptr && log_was_replaced()) {
    sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
}

Result<std::unique_ptr<SqliteDb>> SqliteDb::open(const Clock& clock, std::string path,
                                                 const Schema& schema, TimePoint deadline,
                                                 Empty empty) {
  std::unique_ptr<SqliteDb> db(new SqliteDb(clock, std::move(path)));
  if (empty == Empty::kNew) {
    if (auto made = make_file(db->path_); !made) return fail(std::move(made.error()));
  }
  struct stat info {};
  if (::stat(db->path_.c_str(), &info) != 0) {
    return fail(Code::kUnavailable, db->path_ + ": cannot be opened: " + errno_text(errno));
  }
  if (!S_ISREG(info.st_mode)) {
    return fail(Code::kInvalid, db->path_ + ": is not a regular file");
  }
  if (auto trusted = check_guard(db->path_, info, Guard::kOurs); !trusted) {
    return fail(std::move(trusted.error()));
  }
  if (auto trusted = check_place(db->path_); !trusted) return fail(std::move(trusted.error()));
  if (is_network_file_system(db->path_)) {
    return fail(Code::kInvalid, db->path_ +
                                    ": is on a network file system, where SQLite loses data; "
                                    "use a local disk, or etcd or DynamoDB as the store");
  }
  auto opened = db->until<bool>(deadline, [&]() -> Result<bool> {
    sqlite3* raw = nullptr;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    const int code = sqlite3_open_v2(db->path_.c_str(), &raw, flags, nullptr);
    db->db_.reset(raw);
    if (code != SQLITE_OK) return fail(db->error(code));
    sqlite3_busy_handler(
        raw,
        [](void* self, int) { return static_cast<SqliteDb*>(self)->wait_for_others() ? 1 : 0; },
        db.get());
    if (auto ok = db->set_up(schema, empty); !ok) return fail(std::move(ok.error()));
    return true;
  });
  if (!opened) return fail(std::move(opened.error()));
  auto files = db->files();
  if (!files) return fail(std::move(files.error()));
  db->files_ = *files;
  if (auto ok = db->check_in_place(); !ok) return fail(std::move(ok.error()));
  return db;
}

Result<void> SqliteDb::set_up(const Schema& schema, Empty empty) {
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  if (sqlite3_db_readonly(db_.get(), "main") == 1) {
    return fail(Code::kDenied, path_ + ": is not writable for this user (uid " +
                                   std::to_string(::geteuid()) + ")");
  }
  // Never write before it is known to be ours.
  const auto kind = identify(schema);
  if (!kind) return fail(kind.error());
  if (*kind == Kind::kEmpty && empty == Empty::kMissing) {
    return fail(Code::kUnavailable, path_ + ": is empty");
  }
  if (*kind == Kind::kEmpty && empty == Empty::kLost) {
    return fail(Code::kCorrupt, path_ + ": exists, but has lost its contents");
  }
  const auto mode = query("PRAGMA journal_mode = WAL");
  if (!mode) return fail(mode.error());
  if (*mode != "wal") {
    return fail(Code::kInvalid, path_ + ": its file system does not support SQLite's WAL mode");
  }
  // The kernel caches the file; our own cache only needs the inner pages of the tree.
  for (const char* pragma :
       {"PRAGMA synchronous = FULL", "PRAGMA journal_size_limit = 4194304",
        "PRAGMA cell_size_check = ON", "PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -128"}) {
    if (auto ok = exec(pragma); !ok) return ok;
  }
  if (*kind == Kind::kEmpty) {
    if (auto ok = make(schema); !ok) return ok;
  }
  // A read in WAL mode, so that the -wal and -shm files exist from now on.
  if (auto ok = query("SELECT count(*) FROM sqlite_schema"); !ok) return fail(ok.error());
  return {};
}

Result<SqliteDb::Kind> SqliteDb::identify(const Schema& schema) {
  const auto found = query(
      "SELECT (SELECT application_id FROM pragma_application_id) || ' ' ||"
      " (SELECT user_version FROM pragma_user_version) || ' ' ||"
      " (SELECT count(*) FROM sqlite_schema)");
  if (!found) return fail(found.error());
  const std::string application = std::to_string(schema.application_id);
  if (*found == "0 0 0") return Kind::kEmpty;
  if (!found->starts_with(application + " ")) {
    return fail(Code::kInvalid, path_ + ": is the database of another program");
  }
  const auto version = found->substr(application.size() + 1);
  if (version.substr(0, version.find(' ')) != std::to_string(schema.version)) {
    return fail(Code::kInvalid, path_ + ": has schema " + version.substr(0, version.find(' ')) +
                                    ", but this version of keyfs knows " +
                                    std::to_string(schema.version));
  }
  return Kind::kOurs;
}

Result<void> SqliteDb::make(const Schema& schema) {
  if (auto ok = exec("BEGIN IMMEDIATE"); !ok) return ok;
  const auto kind = identify(schema);  // another process may have been faster
  if (!kind) return fail(kind.error());
  if (*kind == Kind::kEmpty) {
    if (auto ok = exec(schema.sql); !ok) return ok;
    for (const std::string& pragma :
         {"PRAGMA application_id = " + std::to_string(schema.application_id),
          "PRAGMA user_version = " + std::to_string(schema.version)}) {
      if (auto ok = exec(pragma); !ok) return ok;
    }
  }
  return exec("COMMIT");
}

Result<SqliteStatement> SqliteDb::prepare(std::string_view sql) {
  SqliteStatement statement;
  statement.db_ = this;
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  statement.statement_.reset(raw);
  if (code != SQLITE_OK) return fail(error(code));
  return statement;
}

void SqliteDb::start_call(TimePoint deadline) {
  deadline_ = sooner(deadline, clock_.now());
  waits_ = 0;
  busy_ = false;
}

void SqliteDb::roll_back() {
  if (db_ == nullptr || sqlite3_get_autocommit(db_.get()) != 0) return;
  sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

// SQLite calls this if a lock is in its way; until() calls it if SQLite itself gives up immediately
// (recovery of the WAL, the change to WAL mode, a snapshot that is too old).
bool SqliteDb::wait_for_others() {
  busy_ = false;
  const TimePoint now = clock_.now();
  if (now >= deadline_) return false;
  std::this_thread::sleep_for(std::min<Duration>(kWaits.longest(waits_++), deadline_ - now));
  return true;
}

Result<void> SqliteDb::exec(const std::string& sql) {
  const int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(error(code));
  return {};
}

Result<std::string> SqliteDb::query(std::string_view sql) {
  auto statement = prepare(sql);
  if (!statement) return fail(std::move(statement.error()));
  const auto row = statement->step();
  if (!row) return fail(row.error());
  if (!*row) return std::string();
  const unsigned char* text = sqlite3_column_text(statement->statement_.get(), 0);
  return std::string(text == nullptr ? "" : reinterpret_cast<const char*>(text));
}

Error SqliteDb::error(int code) {
  busy_ = false;
  const int os_error = db_ == nullptr ? 0 : sqlite3_system_errno(db_.get());
  const std::string because = os_error == 0 ? std::string() : ": " + errno_text(os_error);
  const auto told = [&](Code kind, std::string_view text) {
    return Error(kind, path_ + ": " + std::string(text));
  };
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      busy_ = true;
      return told(Code::kTimeout, "another process keeps it locked");
    case SQLITE_FULL:
      return told(Code::kUnavailable, "cannot be written: the disk is full");
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return told(Code::kDenied, "may not be written" + because);
    case SQLITE_CANTOPEN: {
      const bool denied = os_error == EACCES || os_error == EPERM || os_error == EROFS;
      return told(denied ? Code::kDenied : Code::kUnavailable, "cannot be opened" + because);
    }
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return told(Code::kCorrupt, "is damaged or not an SQLite database; restore it from a backup");
    case SQLITE_IOERR:
      return told(Code::kUnavailable, "input or output failed" + because);
    case SQLITE_NOMEM:
      return told(Code::kUnavailable, "out of memory");
    case SQLITE_INTERRUPT:
      return told(Code::kTimeout, "interrupted");
    default:
      return told(Code::kInvalid, sqlite3_errstr(code));
  }
}

Result<std::array<SqliteDb::FileId, 3>> SqliteDb::files() const {
  std::array<FileId, 3> ids;
  size_t at = 0;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat info {};
    if (::stat((path_ + suffix).c_str(), &info) != 0) {
      return fail(Code::kUnavailable, path_ + suffix + ": disappeared while keyfs had it open (" +
                                          errno_text(errno) +
                                          "); restore the old file, or restart keyfs");
    }
    ids[at++] = FileId{info.st_dev, info.st_ino};
  }
  return ids;
}

Result<void> SqliteDb::merge(TimePoint deadline) {
  return until<void>(deadline, [&]() -> Result<void> {
    int left = -1;
    const int code =
        sqlite3_wal_checkpoint_v2(db_.get(), "main", SQLITE_CHECKPOINT_TRUNCATE, &left, nullptr);
    if (code != SQLITE_OK) return fail(error(code));
    if (left == 0) return {};
    return fail(Code::kUnavailable, path_ + ": its -wal file could not be merged into it");
  });
}

// The main file is in place, and its -wal or -shm are not.
bool SqliteDb::log_was_replaced() const {
  if (files_[0] == FileId{}) return false;  // was never open for certain
  for (size_t at = 0; const char* suffix : {"", "-wal", "-shm"}) {
    struct stat info {};
    const bool found = ::stat((path_ + suffix).c_str(), &info) == 0;
    const bool same = found && FileId{info.st_dev, info.st_ino} == files_[at];
    if (at == 0 && !same) return false;
    if (!same) return true;
    ++at;
  }
  return false;
}

Result<void> SqliteDb::check_in_place() const {
  const auto now = files();
  if (!now) return fail(now.error());
  int moved = 0;
  sqlite3_file_control(db_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
  if (moved != 0 || *now != files_) {
    return fail(Code::kUnavailable,
                path_ +
                    ": was replaced while keyfs had it open; restore the old file, "
                    "or restart keyfs to use the new one");
  }
  return {};
}

}  // namespace keyfs
