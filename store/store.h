// The store: where records live. SQLite on one machine, DynamoDB or etcd for many.
//
// Thread-safety: none; on the loop's thread. Blocking: never; each call is a task; dropping it
// cancels the call, except that a write that was sent may still take effect. The store outlives its
// tasks. Deadlines: `deadline` bounds the whole call with its retries; after it the call gives
// kTimeout. Errors: of every call kUnavailable, kThrottled, kTimeout, kDenied, kUnauthenticated and
// kInvalid as in base/result.h. Absence, a lost race and a conflict are values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/check_item.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "store/board.h"
#include "store/record.h"

namespace keyfs {

// A record and the revision that a later replace() must still find. Revisions are opaque to
// callers.
struct Stored {
  Record record;
  std::string revision;
  // The text that `record` was parsed from, for callers that keep a copy; empty if it was not read,
  // or not written by keyfs.
  std::string json{};
};

// How consistent an answer must be.
enum class Read {
  kAny,     // a hit may be stale: from a replica, or a member's own copy
  kStrong,  // the result of all writes before the call, or an error
};

// What get() found. A miss is always strongly consistent.
struct Got {
  std::optional<Stored> stored;  // nullopt: there is no record
  // Strongly consistent over all writers: etcd's linearizable read, SQLite, DynamoDB's strong read
  // in the table's home region (in the strong mode, in any region). Only such an answer proves that
  // a key is unchanged.
  bool strong = false;

  explicit operator bool() const { return stored.has_value(); }
  Stored& operator*() { return *stored; }
  const Stored& operator*() const { return *stored; }
  Stored* operator->() { return &*stored; }
  const Stored* operator->() const { return &*stored; }
};

// The result of a write, always strongly consistent.
struct PutResult {
  bool stored = false;  // ours was the first
  Stored winner;        // what is in the store now: ours, or the earlier one
};

struct ListPage {
  struct Entry {
    std::string id;
    KeyState state = KeyState::kEnabled;
    uint32_t current = 0;
    uint32_t bytes = 0;                          // of the current version's key
    std::map<std::string, std::string> masters;  // by region: what wrapped the current version
    // The same of the other versions that are not destroyed, where they differ from the current
    // one's: each combination once, so that most lists carry none.
    std::set<std::map<std::string, std::string>> others;
    bool corrupt = false;    // the record does not parse; only `id` is known
    bool from_rkms = false;  // written by RKMS and not adopted
  };
  std::vector<Entry> entries;
  std::optional<std::string> next;  // pass as `after` for the next page; nullopt at the end
};

// What `keyfs check` reports about a store.
struct StoreCheck {
  std::vector<CheckItem> items;
};

// Receives changes as they happen, on the loop's thread.
class ChangeListener {
 public:
  virtual ~ChangeListener() = default;
  // The record of `id` was written or removed; `stored` is its new value, if the feed carries it.
  // This does not prove that there was no later change: on_live() does.
  virtual void on_change(const std::string& id, const std::optional<Stored>& stored) = 0;
  // Changes may have been missed: everything cached must be checked again.
  virtual void on_gap() = 0;
  // True while the feed is live, as proven by strongly consistent reads: everything cached that was
  // not announced as changed is current. All changes up to `as_of` have been announced, which
  // matters when the feed ends.
  virtual void on_live(bool live, TimePoint as_of) = 0;
};

class Store;
// Whether this is the store that this host knows: kInvalid if not, otherwise the store's errors. A
// list tells nothing of that, since one of another store is short, or empty, and not wrong.
Task<Result<void>> check_same_store(Store& store, TimePoint deadline);

struct TableMade {
  std::string done;              // in one line
  std::optional<Error> missing;  // the table exists but lacks something that it should have
};

class Store {
 public:
  virtual ~Store() = default;

  // The store's random id, created at its first use and the same for all its users. It is the
  // origin of the records created here, and their wraps are bound to it; a record with another
  // origin was copied from another store, and every call gives kCorrupt for it. Every write
  // compares the id in the store itself, so that a store that lost its records, or replaced the one
  // that this host knows, gets no key (store/known_store.h). kInvalid for such a store.
  virtual Task<Result<std::string>> identity(TimePoint deadline) = 0;

  // A miss is reported only after a strongly consistent, well-formed answer, whatever `read` is;
  // with Read::kStrong a hit is strongly consistent too. kCorrupt for a record that does not parse.
  virtual Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) = 0;

  // The first writer wins; the winner is returned in the same round trip. A write whose outcome is
  // unknown (timed out, reset) is resolved by reading again before this returns; if that is not
  // possible, the error says that the outcome is unknown. kCorrupt if the record that was there
  // first does not parse, kInvalid for one that could not be read again (to_json()).
  virtual Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) = 0;

  // Stored (with its new revision), or nullopt if the revision is no longer current, or the record
  // is gone. `revision`: as this store gave it; another text is a conflict, or kInvalid.
  virtual Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                                      TimePoint deadline) = 0;

  // At most `limit` ids in the store's order, those after `after` (empty: from the start). A record
  // that does not parse is an entry marked corrupt, not an error.
  virtual Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) = 0;

  // Whether watch() can announce changes.
  virtual bool can_watch() const { return false; }
  // Announces changes to `listener` until dropped; reconnects automatically, and so has no errors. A
  // feed that may lack some is never live. Only if can_watch().
  virtual Task<void> watch(ChangeListener& listener);

  // The documents beside the records, for as long as the store lives; null: it has none. Nothing is
  // read or made before the first call to it.
  virtual Board* board() { return nullptr; }

  // Tries everything that keyfs needs of the store, for `keyfs check`, and leaves nothing behind;
  // failures are items.
  virtual Task<StoreCheck> check(TimePoint deadline) = 0;

  // Why nothing is created in it, for the operator, if it was seen to have gone back in time (a
  // restored backup, lost writes); empty: nothing was seen.
  virtual std::string trouble() const { return ""; }

  // Creates the tables that the store and its board need, for stores where this is left to the
  // operator. kInvalid for the others.
  virtual Task<Result<TableMade>> make_table(TimePoint deadline);
};

// A store's failure as it is told to who reads or creates a key: that the store refuses keyfs is an
// outage, and says nothing about the caller, so kDenied becomes kUnavailable.
Error as_outage(Error error);

}  // namespace keyfs
