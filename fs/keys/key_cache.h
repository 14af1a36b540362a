// Plaintext data keys by id, in locked memory, and how long each may be served.
//
// KeyEntry is one known id. Its address is stable while somebody holds a KeyRef to it (a node of
// the file system, a flight, an audit line) and while its key is cached; so the path of a warm read
// takes no lock but the entry's own, which is held for the copy of a pointer.
//
// Freshness, on every open and every read of an open file alike (peek()):
//   younger than fresh_for, or announced by a live watch   -> served
//   older, confirmed within serve_stale_for                -> served, and checked in the background
//   older still, never fetched, evicted                    -> the keyring is asked first
//   known to be disabled or deleted                        -> kRevoked; without a live watch asked
//                                                             again after kRevokedFor, so that
//                                                             enabling is seen
// This is the revocation promise: once a key is disabled or deleted, a daemon whose store answers
// serves it for fresh_for and until the check that the next read starts is done (with a live watch:
// until announced); one that can ask nobody for serve_stale_for after it last could. Open files
// are bound by it like new opens. drop() and revoke() take effect for the next read: only
// replies that are being written at that very moment still hold the bytes.
//
// Only a strongly consistent answer moves the time of confirmation. A key that was read from an
// answer that may be old counts from its first serve, or from when it was last confirmed before
// that, and is checked at once behind.
//
// Eviction (cache_keys, or locked memory running out) wipes the bytes and keeps the entry while it
// is referred to, with what it remembers of the record. Whoever reads next pays for a fetch.
//
// Thread-safety: everything here, from any thread. Ownership: the cache owns the entries, and must
// outlive every KeyRef. Blocking: short locks only, one of 64 for acquire/put/drop.
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
#include "fs/keys/record_memory.h"
#include "fs/policy/policy.h"

namespace keyfs {

class KeyCache;

class KeyEntry {
 public:
  KeyEntry(const KeyEntry&) = delete;
  KeyEntry& operator=(const KeyEntry&) = delete;

  std::string_view id() const { return {reinterpret_cast<const char*>(this + 1), id_size_}; }

  // The section that decides for this id: looked for once per policy.
  const PolicySection& section(const Policy& policy) const;

  // The size of the current version when it was ever learned, otherwise `otherwise`.
  uint32_t bytes_or(uint32_t otherwise) const {
    const uint32_t known = bytes_.load(std::memory_order_relaxed);
    return known != 0 ? known : otherwise;
  }

  // What a list told of its size, if nothing is known yet. True when this was news.
  bool learn_bytes(uint32_t bytes) {
    uint32_t unknown = 0;
    return bytes_.compare_exchange_strong(unknown, bytes, std::memory_order_relaxed);
  }

  // The node number that the file system gave to this id; 0: none. The cache does not look at it.
  uint64_t node() const { return node_.load(std::memory_order_acquire); }
  void set_node(uint64_t node) { node_.store(node, std::memory_order_release); }

 private:
  friend class KeyCache;
  friend class KeyIndex;
  friend class KeyRef;
  KeyEntry(KeyCache& cache, uint8_t id_size) : cache_(cache), id_size_(id_size) {}
  ~KeyEntry() = default;

  enum class Held : uint8_t { kNothing, kKey, kRevoked };

  KeyCache& cache_;
  KeyEntry* next_ = nullptr;  // in the shard's index; guarded by the shard
  mutable std::atomic<const PolicySection*> section_{nullptr};
  std::atomic<uint64_t> node_{0};
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
  SharedKey key_;
};

// Keeps an entry where it is.
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
  size_t keys = 1'000'000;
  SipHash hash{};  // with a key that callers do not know
};

class KeyCache {
 public:
  static constexpr Duration kRevokedFor = std::chrono::seconds(1);

  explicit KeyCache(CacheOptions options);
  ~KeyCache();
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;

  // The entry of a well-formed id, made when there is none.
  KeyRef acquire(std::string_view id);
  // The entry of an id that is known, or nothing.
  KeyRef find(std::string_view id);

  enum class Peek : uint8_t {
    kServe,            // `key` is set
    kServeAndRefresh,  // `key` is set; this caller, and no other, is to call Keyring::refresh()
    kAsk,              // Keyring::open() first
    kRevoked,          // EKEYREVOKED
  };
  struct Peeked {
    Peek what = Peek::kAsk;
    SharedKey key;
  };
  // What may be served of `entry` now; `version` 0 asks for the current one, otherwise that one
  // alone will do (kAsk when another is cached). No allocation, no system call.
  Peeked peek(KeyEntry& entry, TimePoint now, uint32_t version = 0) const;

  // What follows is for the keyring, on the loop's thread.

  // A point in the feed of changes; taken before the store is asked, and given with the answer.
  uint32_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  // The store (or the replica, as of the time it was confirmed) says that this is the current key.
  void put(KeyEntry& entry, SharedKey key, TimePoint checked_at, uint32_t epoch);
  // The cached key is still the current one. False when none, or another one, is cached.
  // TimePoint::min() as `checked_at`: as far as was announced, which confirms nothing.
  bool confirm(KeyEntry& entry, uint32_t version, TimePoint checked_at, uint32_t epoch);
  // The id is disabled or deleted: the bytes are dropped at once.
  void revoke(KeyEntry& entry, TimePoint checked_at, uint32_t epoch);
  // Forgets whatever is known: the next read asks.
  void drop(KeyEntry& entry);
  // The refresh that kServeAndRefresh asked for is over, well or not.
  void refreshed(KeyEntry& entry);
  // The record was changed, and nobody can say how: the next read has it checked.
  void doubt(KeyEntry& entry);
  // True: this caller is to check the key in the background, as if kServeAndRefresh said so.
  bool begin_refresh(KeyEntry& entry) {
    return !entry.refreshing_.exchange(true, std::memory_order_acq_rel);
  }
  // The key as it is cached, however old: what serving stale is about. Not to be kept over a wait,
  // since a key that is revoked meanwhile is to be wiped.
  SharedKey held(const KeyEntry& entry) const;

  // What this process knows of an id, whether or not its key is cached.
  struct Known {
    Remembered memory;
    std::optional<TimePoint> confirmed_at;  // when its key was last known to be current
    uint32_t cached = 0;                    // the version whose key is cached; 0: none
  };
  Known known(const KeyEntry& entry, TimePoint now) const;
  // `accepted` was found right, and does not go back.
  void remember(KeyEntry& entry, const Record& accepted);

  // A watch: while it is live, whatever is cached and was not announced is current; when it ends,
  // it had announced all changes up to `as_of`.
  void set_live(bool live, TimePoint as_of);
  bool live() const { return live_.load(std::memory_order_acquire); }
  // Changes may have been missed: every cached key is checked again when it is next read.
  void mark_gap();

  // Wipes cached keys, least used first, until `keys` are gone or none is left; for when locked
  // memory runs out. The number that went.
  size_t shrink(size_t keys);

  // The one copy of a region's name that DataKey::region points to; lives as long as the cache.
  const std::string* region_name(const std::string& name);

  const CacheOptions& options() const { return options_; }
  struct Usage {
    size_t entries = 0;  // known ids
    size_t keys = 0;     // with their key cached
    uint64_t evictions = 0;
  };
  Usage usage() const;
  // How many entries a look-up compares with an id, at worst. Goes through all of them.
  size_t longest_chain() const;

 private:
  friend class KeyRef;
  static constexpr size_t kShards = 64;
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    KeyIndex entries;
    std::vector<KeyEntry*> held;  // those with a key, for eviction
    size_t hand = 0;
    uint64_t evictions = 0;
  };

  Shard& shard_of(std::string_view id);
  KeyRef find_locked(Shard& shard, std::string_view id);
  void release(KeyEntry* entry);
  void forget_held_locked(Shard& shard, KeyEntry& entry);
  // What it held, to be wiped outside the locks.
  SharedKey take_locked(Shard& shard, KeyEntry& entry, KeyEntry::Held now);
  size_t evict(size_t keys, const KeyEntry* spare);
  size_t evict_locked(Shard& shard, size_t keys, const KeyEntry* spare, size_t looks,
                      std::vector<SharedKey>& gone);
  void destroy_if_idle_locked(Shard& shard, KeyEntry* entry);
  TimePoint effective_check_locked(const KeyEntry& entry, TimePoint now) const;

  const CacheOptions options_;
  std::atomic<bool> live_{false};
  std::atomic<bool> was_live_{false};
  std::atomic<int64_t> live_until_;
  std::atomic<int64_t> gap_after_;  // up to when the feed before the last gap had told of changes
  std::atomic<uint32_t> epoch_{1};
  std::atomic<size_t> held_count_{0};
  std::array<Shard, kShards> shards_;
  std::mutex names_mutex_;
  std::set<std::string> names_;
};

// How many keys of that size may be cached when so much memory may be locked (a quarter is left to
// all other secrets), and what to tell the operator when that is fewer than was wished for.
struct CacheRoom {
  size_t keys = 0;
  std::string warning;  // empty when all is well
};
CacheRoom fit_cache(size_t wanted, uint32_t key_bytes, size_t lockable_bytes);

}  // namespace keyfs
