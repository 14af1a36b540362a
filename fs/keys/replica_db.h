// The replica's file: records by id with the time of their last confirmation. See fs/keys/replica.h.
//
// Thread-safety: none; used by one thread. Blocking: every call, at most a few seconds. Errors: as
// in store/sqlite/db.h, and kCorrupt for a record that does not parse.
#pragma once

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

class ReplicaDb {
 public:
  // `may_make`: the file is made when it is not there; without it kUnavailable.
  static Result<std::unique_ptr<ReplicaDb>> open(const Clock& clock, const std::string& path,
                                                 bool may_make = true);

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
  };

  Result<std::optional<Row>> get(const std::string& id);
  // There is a row, whether or not what it holds is damaged.
  Result<bool> has(const std::string& id);
  // Something was written, and is on the disk.
  Result<void> prove();
  // All of them or none. What would take back what the file holds of an id (goes_back()) is left
  // out: the ids.
  Result<std::vector<std::string>> write(const std::vector<Write>& writes);
  Result<LiveTime> live_time();
  Result<void> set_live_time(LiveTime live);
  // What `live` says of the records is written into them, so that a new time can begin.
  Result<void> settle(LiveTime live);

 private:
  explicit ReplicaDb(const Clock& clock) : clock_(clock) {}
  TimePoint deadline() const { return clock_.now() + std::chrono::seconds(5); }
  Result<void> run(SqliteStatement& statement);
  // False: it would take back what is there.
  Result<bool> put(const Write& write);

  const Clock& clock_;
  std::unique_ptr<SqliteDb> db_;
  SqliteStatement find_, put_, doubt_, live_, set_live_, settle_, take_out_;
};

}  // namespace keyfs
