// The replica's file: records by id with the time of their last confirmation. See fs/keys/replica.h.
//
// A file has its tables before it has its name, whoever makes it: one that is there without them has
// lost them, and is no host that has seen nothing. What is only in the -wal file, after keyfs was
// killed, is lost without a trace when that is removed by hand: what is left looks as if it had
// never been noted. That is not looked for. Whoever may remove the -wal may remove the replica, with
// which this host forgets everything, as the manual says; a mark of what was noted last, beside the
// database, would go the same way, cost each note a second write that must be synced, and take each
// backup of the database that was put back without it for damage.
//
// Thread-safety: none; used by one thread; damaged() from any. Blocking: every call, at most a few
// seconds. Errors: as in store/sqlite/db.h; kCorrupt of get() is a record that is damaged, that is
// to say, one that is there. A file that turns out to be damaged is kUnavailable, and tells of
// no id.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/sqlite/db.h"
#include "store/store.h"

namespace keyfs {

// Milliseconds of the wall clock. While a watch was live, from `since` to `until`, every record
// that was confirmed in that time, and not announced as changed, was current.
struct LiveTime {
  int64_t since = 0;
  int64_t until = -1;  // before `since`: never
};

// What stands in a row for a record that RKMS wrote, which has no form of ours: it was seen.
inline constexpr const char* kSeenRkms = "rkms";
// The record of a row's text; of kSeenRkms one with nothing but its id, and from_rkms.
Result<Record> record_of_row(std::string_view json, const std::string& id);

// Why nothing can be told by a damaged file, and what to do about it. (Not what SQLite says, to
// restore a backup: that would take back what was seen since.)
Error replica_damaged(const std::string& path);

class ReplicaDb {
 public:
  // Makes the file, of mode 0600, unless it is there. Of two processes that make it, the first
  // one's stays.
  static Result<void> begin(const Clock& clock, const std::string& path);
  // kUnavailable when there is no file; kCorrupt when it is damaged, or has lost its tables.
  static Result<std::unique_ptr<ReplicaDb>> open(const Clock& clock, const std::string& path);

  struct Row {
    Stored stored;
    int64_t confirmed = 0;
    bool doubted = false;  // announced as changed since
  };
  struct Write {
    std::string id;
    std::string json;  // empty: only doubted
    std::string revision;
    int64_t confirmed = 0;
    bool strong = true;    // or the row's time of confirmation stays, where there is a row
    bool doubted = false;  // announced as changed after that
    bool operator==(const Write&) const = default;
  };

  Result<std::optional<Row>> get(const std::string& id);
  // Something was written, and is on the disk.
  Result<void> prove();
  // All of them or none. What would take back what the file holds of an id (goes_back()) is left
  // out: the ids.
  Result<std::vector<std::string>> write(const std::vector<Write>& writes);
  Result<LiveTime> live_time();
  Result<void> set_live_time(LiveTime live);
  // What `live` says of the records is written into them, so that a new time can begin.
  Result<void> settle(LiveTime live);
  // A read or a write has found the file damaged.
  bool damaged() const { return damaged_.load(std::memory_order_relaxed); }

 private:
  static Result<std::unique_ptr<ReplicaDb>> open(const Clock& clock, const std::string& path,
                                                 SqliteDb::Empty empty);
  explicit ReplicaDb(const Clock& clock) : clock_(clock) {}
  TimePoint deadline() const { return clock_.now() + std::chrono::seconds(5); }
  Result<void> run(SqliteStatement& statement);
  // The name still leads to the file that is open here.
  Result<void> in_place() const;
  // Damage of the file, told as such.
  Error told(Error error);
  // False: it would take back what is there.
  Result<bool> put(const Write& write);

  const Clock& clock_;
  std::atomic<bool> damaged_{false};
  std::unique_ptr<SqliteDb> db_;
  SqliteStatement find_, put_, doubt_, live_, set_live_, settle_, take_out_;
};

}  // namespace keyfs
