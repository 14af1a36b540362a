// The replica's file: records by id with the time of last confirmation. See fs/keys/replica.h.
//
// Every new file gets its tables before its name: a file without them has lost them, and does not
// mean that this host has seen nothing.
//
// What write() has written is in the main file. SQLite's -wal file is no place for a memory: after
// keyfs was killed, one that is lost, or in which a bit has changed, is taken for an empty one,
// without a word. So each transaction is merged into the main file, and the -wal emptied, before it
// counts; a whole batch of notes is one transaction. Neither does a -wal with what is merged already
// stay: cut short, it would lay old pages over the new ones. What is in the -wal of a keyfs that was
// killed is what nobody was told is kept, and is merged by the next one. Two failures at once are
// left: keyfs is killed within the milliseconds of a merge, and that -wal is lost afterwards. Then
// some pages of the main file are newer than others; an id that this takes from one tree only is
// told as damaged (below).
//
// A rollback journal in place of the -wal would also keep notes in the main file, at as many syncs,
// but with each write every reader would wait for the disk, and a journal that is lost after a kill
// leaves the same half of a change.
//
// A merge waits until nobody reads, which others do for milliseconds, and `keyfs check`, which reads
// the whole file, a second or so for a million ids. If that takes longer than a call may, the note is
// not written yet.
//
// While keyfs runs, somebody may remove or replace the -wal or the -shm file. Another process then
// makes new ones and writes by those; so whoever has the old ones open neither writes nor merges any
// more, and takes no id for one that was not seen.
//
// Each id is there twice, in two trees, and once more in its record: one that damage took from a row
// is kCorrupt, and never an id that was not seen.
//
// Thread-safety: none; used by one thread; damaged() from any. Blocking: every call, at most a few
// seconds. Errors: as in store/sqlite/db.h; kCorrupt from get() means a damaged record, that is,
// one that exists. A file found damaged is kUnavailable, and says nothing about any id.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fs/keys/host_memory.h"
#include "store/sqlite/db.h"
#include "store/store.h"

namespace keyfs {

// Milliseconds of the wall clock. While a watch was live, from `since` to `until`, every record
// that was confirmed in that time and not announced as changed was current.
struct LiveTime {
  int64_t since = 0;
  int64_t until = -1;  // before `since`: never
};

// The text in a row for a record that was seen but is not kept: one that RKMS wrote, which has no
// keyfs form, or one that was damaged or could not be verified, and may be keyfs's. An older keyfs
// takes the second one for a damaged row, which means the same to it.
inline constexpr const char* kSeenRkms = "rkms";
inline constexpr const char* kSeenUnproven = "seen";
const char* row_of(Sighting what);
bool only_seen(std::string_view json);
// Whether a row that says `now` is to take the place of one that says `before`, where `now` says
// only that a record was seen: it never takes the place of more than that.
bool tells_more(std::string_view before, std::string_view now);
// Parses a row's text; a record that was only seen has but its id and from_rkms, since nothing of
// it binds. kCorrupt as parse_record().
Result<Record> record_of_row(std::string_view json, const std::string& id);

// The error for a damaged file, and what to do about it. (Not SQLite's advice to restore a backup:
// that would forget what was seen since.)
Error replica_damaged(const std::string& path);

class ReplicaDb {
 public:
  // Creates the file with mode 0600 unless it exists. Of two processes that create it, the first
  // wins.
  static Result<void> begin(const Clock& clock, const std::string& path);
  // kUnavailable if there is no file; kCorrupt if it is damaged, or has lost its tables.
  static Result<std::unique_ptr<ReplicaDb>> open(const Clock& clock, const std::string& path);

  struct Row {
    Stored stored;
    int64_t confirmed = 0;
    bool doubted = false;   // announced as changed since
    bool unproven = false;  // kSeenUnproven
  };
  struct Write {
    std::string id;
    std::string json;  // empty: only doubted
    std::string revision;
    int64_t confirmed = 0;
    bool strong = true;    // otherwise an existing row keeps its time of confirmation
    bool doubted = false;  // announced as changed after that
    bool operator==(const Write&) const = default;
  };

  Result<std::optional<Row>> get(const std::string& id);
  // How many rows have an id that is not the one in their record. Reads the whole file.
  Result<int64_t> misnamed();
  // The first `limit` ids, in order.
  Result<std::vector<std::string>> ids(size_t limit);
  // The origins of all records, each once, in order; records without one are left out. kCorrupt for a row
  // whose origin cannot be told. Reads the whole file.
  Result<std::vector<std::string>> origins();
  // Puts into the main file what a keyfs that was killed, or an older one, has left in the -wal.
  Result<void> merge();
  // Makes a test write and syncs it to disk.
  Result<void> prove();
  // Writes all or none, into the main file. On an error some may have been written: write them
  // again. Records that go back from what the file has (goes_back()) are skipped;
  // returns their ids.
  Result<std::vector<std::string>> write(const std::vector<Write>& writes);
  Result<LiveTime> live_time();
  Result<void> set_live_time(LiveTime live);
  // Writes what `live` says about the records into them, so that a new period can begin.
  Result<void> settle(LiveTime live);
  // A read or a write has found the file damaged.
  bool damaged() const { return damaged_.load(std::memory_order_relaxed); }

 private:
  static Result<std::unique_ptr<ReplicaDb>> open(const Clock& clock, const std::string& path,
                                                 SqliteDb::Empty empty);
  explicit ReplicaDb(const Clock& clock) : clock_(clock) {}
  TimePoint deadline() const { return clock_.now() + std::chrono::seconds(5); }
  // Whether there is an index now.
  Result<bool> index();
  Result<int64_t> count_misnamed();
  // The first column of all rows. kCorrupt if one is no text.
  Result<std::vector<std::string>> texts_of(SqliteStatement& statement,
                                            const std::function<void()>& bind);
  Result<void> run(SqliteStatement& statement);
  // The names still lead to the files that are open here.
  Result<void> in_place() const;
  // A transaction that is merged.
  template <class T>
  Result<T> keep(const std::function<Result<T>()>& work);
  Result<void> merge(TimePoint deadline);
  // Damage of the file, told as such.
  Error told(Error error);
  // False: it goes back from what is there.
  Result<bool> put(const Write& write);

  const Clock& clock_;
  std::atomic<bool> damaged_{false};
  std::unique_ptr<SqliteDb> db_;
  SqliteStatement find_, named_, misnamed_, put_, doubt_, live_, set_live_, settle_, take_out_,
      origins_, ids_;
};

}  // namespace keyfs
