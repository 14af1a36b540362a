// The store: where records live. SQLite on one machine, DynamoDB or etcd for many.
//
// Thread-safety: none; on the loop's thread. Blocking: never; each call is a task, ended by
// dropping it, except that a write which was sent may still happen. The store outlives its tasks.
// Deadlines: `deadline` bounds the whole call with its retries; past it the call gives kTimeout.
// Errors: kUnavailable, kThrottled, kTimeout, kDenied, kUnauthenticated, kInvalid as everywhere;
// kCorrupt for a record that does not parse. Absence, a lost race and a conflict are values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/check_item.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "store/record.h"

namespace keyfs {

// A record and the revision that a later replace() must still find. The revision is the store's
// own.
struct Stored {
  Record record;
  std::string revision;
  // The text that `record` was read from, for whoever keeps a copy; empty when it was not read, or
  // was not written by keyfs.
  std::string json{};
};

// How much an answer must prove.
enum class Read {
  kAny,     // a hit may be old: a replica's, or a member's own copy
  kStrong,  // what all writers before the call have left, or an error
};

// What get() found. A miss is always strong.
struct Got {
  std::optional<Stored> stored;  // nullopt: there is no record
  // Strongly consistent over all writers: etcd's linearizable read, SQLite, DynamoDB's strong read
  // in the table's home region (in the strong mode, in any region). Only such an answer shows that
  // a key is still what it was.
  bool strong = false;

  explicit operator bool() const { return stored.has_value(); }
  Stored& operator*() { return *stored; }
  const Stored& operator*() const { return *stored; }
  Stored* operator->() { return &*stored; }
  const Stored* operator->() const { return &*stored; }
};

// Decided by whoever decides for all writers, and so strongly consistent.
struct PutResult {
  bool stored = false;  // ours was the first
  Stored winner;        // what is in the store now: ours, or the one that was there first
};

struct ListPage {
  struct Entry {
    std::string id;
    KeyState state = KeyState::kEnabled;
    uint32_t current = 0;
    uint32_t bytes = 0;
    std::map<std::string, std::string> masters;  // by region: what wrapped the current version
    bool corrupt = false;                        // the record does not parse; only `id` is known
    bool from_rkms = false;                      // written by RKMS, and not adopted
  };
  std::vector<Entry> entries;
  std::optional<std::string> next;  // pass as `after` for the next page; nullopt at the end
};

// What `keyfs check` tells of a store.
struct StoreCheck {
  std::vector<CheckItem> items;
};

// Hears of changes as they happen, on the loop's thread.
class ChangeListener {
 public:
  virtual ~ChangeListener() = default;
  // The record of `id` was written or removed; `stored` is what it was made then, when the feed
  // carries it. An announcement, and no proof that nothing came after it: that is on_live()'s.
  virtual void on_change(const std::string& id, const std::optional<Stored>& stored) = 0;
  // Changes may have been missed: whatever is cached must be checked again.
  virtual void on_gap() = 0;
  // True while the feed is live, which is proven by strongly consistent reads: what is cached and
  // was not announced as changed is current. What was changed up to `as_of` has been announced,
  // which matters when the feed ends.
  virtual void on_live(bool live, TimePoint as_of) = 0;
};

struct TableMade {
  std::string done;              // in a line
  std::optional<Error> missing;  // the table is there, and lacks something that it should have
};

class Store {
 public:
  virtual ~Store() = default;

  // The store's own random id, made at its first use and the same for all who use it. It is the
  // origin of the records that are made here, whose wraps are bound to it; a record with another
  // origin was copied from another store, and is kCorrupt to every call. Every write compares it
  // where the records are, so that a store which lost its records, or took the place of the one
  // that this host knows, gets no key (store/known_store.h). kInvalid for such a store.
  virtual Task<Result<std::string>> identity(TimePoint deadline) = 0;

  // A miss is told only after a strongly consistent, well-formed answer, whatever `read` is; a hit
  // of Read::kStrong is strong.
  virtual Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) = 0;

  // The first writer wins; the winner comes back in the same round trip. A write whose outcome is
  // unknown (timed out, reset) is resolved by reading again before this returns; where that cannot
  // be done the error says that the outcome is unknown.
  virtual Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) = 0;

  // Stored (with its new revision), or nullopt when the revision is no longer the current one.
  virtual Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                                      TimePoint deadline) = 0;

  // Ids in the store's order, those after `after` (empty: from the start).
  virtual Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) = 0;

  // Whether watch() can announce changes.
  virtual bool can_watch() const { return false; }
  // Announces changes to `listener` until dropped; reconnects by itself. Only if can_watch().
  virtual Task<void> watch(ChangeListener& listener);

  virtual Task<StoreCheck> check(TimePoint deadline) = 0;

  // Makes the table that the store needs, where that is the operator's decision and not made by
  // itself. kInvalid where there is no such thing.
  virtual Task<Result<TableMade>> make_table(TimePoint deadline);
};

}  // namespace keyfs
