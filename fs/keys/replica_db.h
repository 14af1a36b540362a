// The replica's file: records by id with the time of their last confirmation. See fs/keys/replica.h.
//
// Thread-safety: none; used by one thread. Blocking: every call, at most a few seconds. Errors: as
// in store/sqlite/db.h, and kCorrupt for a record that does not parse.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
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

class ReplicaDb {
 public:
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
  };

  Result<std::optional<Row>> get(const std::string& id);
  Result<void> write(const std::vector<Write>& writes);
  Result<LiveTime> live_time();
  Result<void> set_live_time(LiveTime live);
  // What `live` says of the records is written into them, so that a new time can begin.
  Result<void> settle(LiveTime live);

 private:
  explicit ReplicaDb(const Clock& clock) : clock_(clock) {}
  TimePoint deadline() const { return clock_.now() + std::chrono::seconds(5); }
  Result<void> run(SqliteStatement& statement);

  const Clock& clock_;
  std::unique_ptr<SqliteDb> db_;
  SqliteStatement find_, put_, doubt_, live_, set_live_, settle_;
};

}  // namespace keyfs
