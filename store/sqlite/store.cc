#include "store/sqlite/store.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "store/known_store.h"
#include "store/sqlite/running.h"

namespace keyfs {
namespace {

// A page keeps the reading thread busy for some milliseconds; gets wait behind it.
constexpr size_t kMaxPage = 256;
constexpr uint64_t kLeastSpace = uint64_t{64} << 20;

std::optional<int64_t> parse_revision(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) return std::nullopt;
  return value;
}

CheckItem check_mode(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return {"private", false, path + ": does not exist", "restore the file"};
  }
  const bool ok = (info.st_mode & 077) == 0;
  return {"private", ok,
          path + (ok ? ": only its owner" : ": users other than its owner") + " may read it",
          ok ? "" : "chmod 600 " + path};
}

CheckItem check_space(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) {
    return {"disk space", false, path + ": unknown", "check its file system"};
  }
  const uint64_t free = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  const bool ok = free >= kLeastSpace;
  return {"disk space", ok, std::to_string(free >> 20) + " MiB are free",
          ok ? "" : "make room on the file system of " + path};
}

// How long a look at what was written waits for others' locks.
constexpr Duration kLookPatience = std::chrono::seconds(1);

}  // namespace

SqliteStore::SqliteStore(Loop& loop, std::string path)
    : loop_(loop), path_(std::move(path)), board_(*this) {}

SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(Loop& loop, const std::string& path,
                                                       TimePoint deadline, bool may_make) {
  std::unique_ptr<SqliteStore> store(new SqliteStore(loop, path));
  auto writer = SqliteConnection::open(loop.clock(), path, deadline, may_make);
  if (!writer) return fail(std::move(writer.error()));
  auto reader = SqliteConnection::open(loop.clock(), path, deadline, false);
  if (!reader) return fail(std::move(reader.error()));
  auto id = (*reader)->store_id(deadline);
  if (!id) return fail(std::move(id.error()));
  store->store_id_ = std::move(*id);
  (*writer)->bind_to(store->store_id_);
  (*reader)->bind_to(store->store_id_);
  store->writer_ = std::make_unique<Thread>(loop, "keyfs-db-write", std::move(*writer));
  store->reader_ = std::make_unique<Thread>(loop, "keyfs-db-read", std::move(*reader));
  return store;
}

Task<Result<std::string>> SqliteStore::identity(TimePoint) { co_return store_id_; }

Task<Result<Got>> SqliteStore::get(std::string id, Read, TimePoint deadline) {
  std::function<Result<Got>(SqliteConnection&, TimePoint)> work =
      [id](SqliteConnection& db, TimePoint until) -> Result<Got> {
    auto found = db.get(id, until);
    if (!found) return fail(std::move(found.error()));
    return Got{std::move(*found), true};
  };
  co_return co_await run(*reader_, path_ + ": key " + id + " could not be read", deadline,
                         std::move(work));
}

Task<Result<PutResult>> SqliteStore::put_if_absent(Record record, TimePoint deadline) {
  if (auto ok = check_may_write(record, store_id_); !ok) co_return fail(std::move(ok.error()));
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  std::string what =
      path_ + ": outcome unknown: key " + record.id + " may or may not have been saved";
  std::function<Result<PutResult>(SqliteConnection&, TimePoint)> work =
      [record = std::move(record), json = std::move(*json)](SqliteConnection& db, TimePoint until) {
        return db.put_if_absent(record, json, until);
      };
  co_return co_await run(*writer_, std::move(what), deadline, std::move(work));
}

Task<Result<std::optional<Stored>>> SqliteStore::replace(Record record, std::string revision,
                                                         TimePoint deadline) {
  if (auto ok = check_may_write(record, store_id_); !ok) co_return fail(std::move(ok.error()));
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  const auto number = parse_revision(revision);
  if (!number) co_return fail(Code::kInvalid, path_ + ": this revision is not from this database");
  std::string what =
      path_ + ": outcome unknown: key " + record.id + " may or may not have been changed";
  std::function<Result<std::optional<Stored>>(SqliteConnection&, TimePoint)> work =
      [record = std::move(record), json = std::move(*json), number = *number](SqliteConnection& db,
                                                                              TimePoint until) {
        return db.replace(record, json, number, until);
      };
  co_return co_await run(*writer_, std::move(what), deadline, std::move(work));
}

Task<Result<ListPage>> SqliteStore::list(std::string after, size_t limit, TimePoint deadline) {
  limit = std::clamp<size_t>(limit, 1, kMaxPage);
  std::function<Result<ListPage>(SqliteConnection&, TimePoint)> work =
      [after = std::move(after), limit](SqliteConnection& db, TimePoint until) {
        return db.list(after, limit, until);
      };
  co_return co_await run(*reader_, path_ + ": could not be listed", deadline, std::move(work));
}

Task<void> SqliteStore::watch(ChangeListener& listener) {
  std::optional<int64_t> last;
  for (;;) {
    co_await look(listener, last);
    co_await loop_.sleep_for(kWatchEvery);
  }
}

// Without a deadline of its own: a look that hangs in the disk must not have others queue behind it.
Task<void> SqliteStore::look(ChangeListener& listener, std::optional<int64_t>& last) {
  struct News {
    int64_t last = 0;
    std::vector<SqliteConnection::Change> changes;
  };
  for (;;) {
    std::function<Result<News>()> job = [this, after = last]() -> Result<News> {
      SqliteConnection& db = *reader_->connection;
      News news;
      auto newest = db.last_revision(loop_.now() + kLookPatience);
      if (!newest) return fail(std::move(newest.error()));
      news.last = *newest;
      if (!after || *newest <= *after) return news;
      auto changes = db.changes(*after, kMaxPage, loop_.now() + kLookPatience);
      if (!changes) return fail(std::move(changes.error()));
      news.changes = std::move(*changes);
      return news;
    };
    auto looking = reader_->worker.run<Result<News>>(std::move(job));
    const auto news = co_await std::move(looking);
    if (!news) co_return;  // those who read are told why
    // Revisions only grow, so rows were taken away: a backup was put in its place.
    if (last && news->last < *last) listener.on_gap();
    for (const auto& change : news->changes) listener.on_change(change.id, change.stored);
    const bool more = news->changes.size() == kMaxPage;
    last = more ? news->changes.back().revision : news->last;
    if (!more) co_return;
  }
}

Task<StoreCheck> SqliteStore::check(TimePoint deadline) {
  StoreCheck check;
  TimePoint begin = loop_.now();
  std::function<Result<int64_t>(SqliteConnection&, TimePoint)> count =
      [](SqliteConnection& db, TimePoint until) { return db.count(until); };
  const auto records =
      co_await run(*reader_, path_ + ": could not be read", deadline, std::move(count));
  if (records) {
    check.items.push_back({"reachable", true,
                           path_ + ": " + std::to_string(*records) +
                               (*records == 1 ? " record, read in " : " records, read in ") +
                               to_text(loop_.now() - begin),
                           ""});
  } else {
    check.items.push_back({"reachable", false, records.error().message, "see the reason"});
  }
  begin = loop_.now();
  std::function<Result<bool>(SqliteConnection&, TimePoint)> write =
      [](SqliteConnection& db, TimePoint until) -> Result<bool> {
    if (auto ok = db.try_write(until); !ok) return fail(std::move(ok.error()));
    return true;
  };
  const auto wrote =
      co_await run(*writer_, path_ + ": could not be written", deadline, std::move(write));
  if (wrote) {
    check.items.push_back(
        {"may write", true, "write lock acquired in " + to_text(loop_.now() - begin), ""});
  } else {
    const bool locked = wrote.error().code == Code::kTimeout;
    check.items.push_back({"may write", false, wrote.error().message,
                           locked ? "stop the process that keeps it locked"
                                  : "let the daemon's user write the file and its directory"});
  }
  if (records) {
    auto board = co_await board_.check(deadline);
    std::move(board.begin(), board.end(), std::back_inserter(check.items));
  }
  check.items.push_back(check_mode(path_));
  check.items.push_back(check_space(path_));
  co_return check;
}

}  // namespace keyfs
