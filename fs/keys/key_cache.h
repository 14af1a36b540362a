// Plaintext data keys by id, in locked memory, and how long each may be served.
//
// KeyEntry is one known id. Its address is stable while somebody holds a KeyRef to it (a node of
// the file system, a flight, an audit line) and while its key is cached; so a warm read takes only
// the entry's own lock, which is held while a pointer is copied. It also has two words for the room
// above (KeyWords), which the cache never looks at: what is kept beside a key needs no second table
// with a lock and an allocation for each key.
//
// Freshness, on every open and every read of an open file alike (peek()):
//   younger than fresh_for, or announced by a live watch   -> served
//   older, confirmed within serve_stale_for                -> served, and checked in the background
//   older still, never fetched, evicted                    -> the keyring is asked first
//   known to be disabled or deleted                        -> kRevoked; without a live watch asked
//                                                             again after kRevokedFor, so that
//                                                             enabling is seen
// This is the revocation promise: after a key is disabled or deleted, a daemon whose store answers
// serves it for fresh_for, and then until the check that the next read starts is done (with a live
// watch: until announced); a daemon that cannot ask, for serve_stale_for after it last could. The
// same applies to open files. drop() and revoke() take effect for the next read: only replies being
// written at that moment still have the bytes.
//
// Only a strongly consistent answer moves the time of confirmation. A key that was read from an
// answer that may be stale counts from when it was first served, or from an earlier confirmation,
// and is checked immediately in the background.
//
// Versions: an entry holds the key of the current version and of each older one that was served.
// One confirmation of the record confirms them all, since the record says of each whether it is
// still readable (follow()). A rotation moves the current key to the older ones. Versions below the
// record's min are kRevoked for as long as that is known, as a disabled key is; the others go on.
//
// Eviction (cache_keys, or locked memory running out) wipes the bytes, of one version at a time;
// the entry stays while it is referenced, with what it remembers of the record. The next reader
// pays for a fetch.
//
// Thread-safety: everything here, from any thread. Ownership: the cache owns the entries, and must
// outlive every KeyRef. Blocking: short locks only; acquire/put/drop take one of 64.
// Errors: none.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/siphash.h"
#include "base/spin_lock.h"
#include "fs/keys/data_key.h"
#include "fs/keys/key_index.h"
#include "fs/keys/older_versions.h"
#include "fs/keys/record_memory.h"

namespace keyfs {

class KeyCache;

// What the room above keeps beside a key; fs/mount/key_words.h says what. Zero in a new entry, and
// gone with the entry: hold a KeyRef to keep them. The two are not ordered with each other.
struct KeyWords {
  std::atomic<const void*> pointer{nullptr};
  std::atomic<uint64_t> number{0};
};

class KeyEntry {
 public:
  KeyEntry(const KeyEntry&) = delete;
  KeyEntry& operator=(const KeyEntry&) = delete;

  std::string_view id() const { return {reinterpret_cast<const char*>(this + 1), id_size_}; }

  // The size of the current version if it is known, otherwise `otherwise`.
  uint32_t bytes_or(uint32_t otherwise) const {
    const uint32_t known = bytes_.load(std::memory_order_relaxed);
    return known != 0 ? known : otherwise;
  }

  // Notes the size from a list, if none is known yet. True if this was news.
  bool learn_bytes(uint32_t bytes) {
    uint32_t unknown = 0;
    return bytes_.compare_exchange_strong(unknown, bytes, std::memory_order_relaxed);
  }

  // Changing them changes nothing of the key.
  KeyWords& words() const { return words_; }

 private:
  friend class KeyCache;
  friend class KeyIndex;
  friend class KeyRef;
  KeyEntry(KeyCache& cache, uint8_t id_size) : cache_(cache), id_size_(id_size) {}
  ~KeyEntry() = default;

  enum class Held : uint8_t { kNothing, kKey, kRevoked };

  // How many versions are cached. Under `spin_`.
  size_t keys() const {
    return (key_ != nullptr ? 1 : 0) + (older_ != nullptr ? older_->size() : 0);
  }

  KeyCache& cache_;
  KeyEntry* next_ = nullptr;  // in the shard's index; guarded by the shard
  mutable KeyWords words_;
  std::atomic<uint32_t> refs_{0};
  std::atomic<uint32_t> bytes_{0};
  uint32_t place_ = 0;  // in the shard's list of held keys; guarded by the shard
  std::atomic<bool> used_{false};
  std::atomic<bool> refreshing_{false};
  const uint8_t id_size_;

  mutable SpinLock spin_;  // guards what follows
  Held held_ = Held::kNothing;
  uint32_t epoch_ = 0;
  TimePoint checked_at_{};  // stays when the key goes
  Remembered memory_;
  SharedKey key_;                         // of the current version
  std::unique_ptr<OlderVersions> older_;  // replaced only on the loop's thread
};

// Keeps an entry alive, at a stable address.
class KeyRef {
 public:
  KeyRef() = default;
  KeyRef(const KeyRef& other) : KeyRef(other.entry_) {}
  KeyRef(KeyRef&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  KeyRef& operator=(KeyRef other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~KeyRef() { reset(); }

  void reset();
  explicit operator bool() const { return entry_ != nullptr; }
  KeyEntry& operator*() const { return *entry_; }
  KeyEntry* operator->() const { return entry_; }
  KeyEntry* get() const { return entry_; }
  bool operator==(const KeyRef&) const = default;

 private:
  friend class KeyCache;
  explicit KeyRef(KeyEntry* entry);
  KeyEntry* entry_ = nullptr;
};

struct CacheOptions {
  Duration fresh_for = std::chrono::minutes(5);
  Duration serve_stale_for = std::chrono::hours(24);
  size_t keys = 1'000'000;  // cached at most; ids that are only known are not counted
  SipHash hash{};           // with a key that callers do not know
};

// The error for a key that is disabled or deleted; kEnabled: only that version of it is refused.
Error revoked(const std::string& id, KeyState state, uint32_t version = 0);

class KeyCache {
 public:
  static constexpr Duration kRevokedFor = std::chrono::seconds(1);

  explicit KeyCache(CacheOptions options);
  ~KeyCache();
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;

  // The entry of a well-formed id, created if there is none. Takes the shard's lock, and allocates
  // for a new one.
  KeyRef acquire(std::string_view id);
  // The entry of an id that is known, or nothing. Takes the shard's lock; allocates nothing.
  KeyRef find(std::string_view id);

  enum class Peek : uint8_t {
    kServe,            // `key` is set
    kServeAndRefresh,  // `key` is set; only this caller must call Keyring::refresh()
    kAsk,              // Keyring::open() first
    kRevoked,          // EKEYREVOKED
  };
  struct Peeked {
    Peek what = Peek::kAsk;
    KeyState state = KeyState::kEnabled;  // of kRevoked; kEnabled: only that version has ended
    SharedKey key;
  };
  // What may be served of `entry` now. `version` 0: the current one; otherwise exactly that one
  // (kAsk if it is not cached). Takes the entry's own lock; no allocation, no system call.
  Peeked peek(KeyEntry& entry, TimePoint now, uint32_t version = 0) const;

  // The rest is for the keyring, on the loop's thread.

  // A position in the feed of changes; take it before asking the store, and pass it with the
  // answer.
  uint32_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  // The store (or the replica, as of the time it was confirmed) says that this is the current key.
  // A cached one of another version becomes an older one.
  void put(KeyEntry& entry, SharedKey key, TimePoint checked_at, uint32_t epoch);
  // The same of a version that is readable and not the current one.
  void put_older(KeyEntry& entry, SharedKey key, TimePoint checked_at, uint32_t epoch);
  // The record that was followed last is still the current one, and each cached version the key
  // that it speaks of. False if nothing is cached. TimePoint::min() as `checked_at`: according to
  // announcements only, which confirms nothing.
  bool confirm(KeyEntry& entry, TimePoint checked_at, uint32_t epoch);
  // The id is disabled or deleted: drops the bytes immediately.
  void revoke(KeyEntry& entry, TimePoint checked_at, uint32_t epoch);
  // Forgets everything known: the next read asks.
  void drop(KeyEntry& entry);
  // The refresh that kServeAndRefresh requested has ended, successfully or not.
  void refreshed(KeyEntry& entry);
  // The record changed in an unknown way: the next read has it checked.
  void doubt(KeyEntry& entry);
  // True: this caller must check the key in the background, as after kServeAndRefresh.
  bool begin_refresh(KeyEntry& entry) {
    return !entry.refreshing_.exchange(true, std::memory_order_acq_rel);
  }
  // The cached key of a version (0: the current one), however old. Do not keep it across a wait: a
  // key that is revoked in the meantime must be wiped.
  SharedKey held(const KeyEntry& entry, uint32_t version = 0) const;
  // Those of all versions. On the loop's thread, and not across a wait.
  std::vector<SharedKey> all_held(const KeyEntry& entry) const;

  // What this process knows of an id, whether or not its key is cached.
  struct Known {
    Remembered memory;
    std::optional<TimePoint> confirmed_at;  // when its key was last known to be current
    uint32_t cached = 0;   // the current version if its key is cached; 0: it is not
    bool any = false;      // some version's key is cached
    bool revoked = false;  // disabled or deleted
  };
  Known known(const KeyEntry& entry, TimePoint now) const;

  struct Followed {
    uint32_t from = 0;  // the current version changed from this one; 0: it did not, or is the first
    uint32_t to = 0;
    std::vector<uint32_t> ended;  // versions that are refused now and were not, or were cached
  };
  // `accepted` was verified. Remembers it, wipes the versions that it no longer lets be read, and
  // makes current what it says: if that version is not cached, the next reader of the plain name
  // asks for it. A record that goes back is ignored. The state of the key is revoke()'s.
  Followed follow(KeyEntry& entry, const Record& accepted);

  // The state of a watch: while it is live, everything cached that was not announced as changed is
  // current; when it ends, all changes up to `as_of` have been announced.
  void set_live(bool live, TimePoint as_of);
  bool live() const { return live_.load(std::memory_order_acquire); }
  // Changes may have been missed: every cached key is checked again when it is next read.
  void mark_gap();

  // Wipes cached keys, least used first, until `keys` are gone or none is left; for when locked
  // memory runs out. Returns how many were wiped.
  size_t shrink(size_t keys);

  // The one copy of a region's name that DataKey::region points to; lives as long as the cache.
  const std::string* region_name(const std::string& name);

  const CacheOptions& options() const { return options_; }
  struct Usage {
    size_t entries = 0;  // known ids
    size_t keys = 0;     // cached keys, each version counted
    uint64_t evictions = 0;
  };
  Usage usage() const;  // takes each shard's lock, one after the other
  // The most entries that a lookup compares with an id. Walks all of them.
  size_t longest_chain() const;

 private:
  friend class KeyRef;
  static constexpr size_t kShards = 64;
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    KeyIndex entries;
    std::vector<KeyEntry*> held;  // those with a key, for eviction
    size_t keys = 0;              // theirs, of all versions
    size_t hand = 0;
    uint64_t evictions = 0;
  };

  Shard& shard_of(std::string_view id);
  KeyRef find_locked(Shard& shard, std::string_view id);
  void release(KeyEntry* entry);
  // What was cached of an entry, to be wiped outside the locks.
  struct Taken {
    SharedKey key;
    std::unique_ptr<OlderVersions> older;
  };
  // Which key is not to be evicted: the one that needs room.
  struct Spare {
    const KeyEntry* entry = nullptr;
    uint32_t version = 0;
  };
  void insert(KeyEntry& entry, SharedKey key, bool current, TimePoint checked_at, uint32_t epoch);
  // To be called with what keys() was before, after it may have changed.
  void recount_locked(Shard& shard, KeyEntry& entry, size_t before);
  Taken take_locked(Shard& shard, KeyEntry& entry, KeyEntry::Held now);
  size_t evict(size_t keys, Spare spare);
  size_t evict_locked(Shard& shard, size_t keys, Spare spare, size_t looks,
                      std::vector<SharedKey>& gone);
  // Of one entry, those that were not used since the last time.
  static size_t evict_unused_locked(KeyEntry& entry, size_t keys, Spare spare,
                                    std::vector<SharedKey>& gone);
  void destroy_if_idle_locked(Shard& shard, KeyEntry* entry);
  TimePoint effective_check_locked(const KeyEntry& entry, TimePoint now) const;

  const CacheOptions options_;
  std::atomic<bool> live_{false};
  std::atomic<bool> was_live_{false};
  std::atomic<int64_t> live_until_;
  std::atomic<int64_t> gap_after_;  // until when the feed before the last gap had announced changes
  std::atomic<uint32_t> epoch_{1};
  std::atomic<size_t> held_count_{0};
  std::array<Shard, kShards> shards_;
  std::mutex names_mutex_;
  std::set<std::string> names_;
};

// How many keys of that size may be cached with this much lockable memory (a quarter is reserved
// for other secrets), and a warning for the operator if that is fewer than requested.
struct CacheRoom {
  size_t keys = 0;
  std::string warning;  // empty if there is none
};
CacheRoom fit_cache(size_t wanted, uint32_t key_bytes, size_t lockable_bytes);

}  // namespace keyfs
