#include "fs/keys/key_cache.h"

#include <algorithm>
#include <new>
#include <thread>

namespace keyfs {

std::string_view to_string(KeySource source) {
  switch (source) {
    case KeySource::kNone:
      return "none";
    case KeySource::kCache:
      return "cache";
    case KeySource::kRegion:
      return "region";
    case KeySource::kReplica:
      return "replica";
  }
  return "none";
}

Error revoked(const std::string& id, KeyState state) {
  return Error(Code::kRevoked, "key " + id + " is " + std::string(to_string(state)));
}

KeyRef::KeyRef(KeyEntry* entry) : entry_(entry) {
  if (entry != nullptr) entry->refs_.fetch_add(1, std::memory_order_relaxed);
}

void KeyRef::reset() {
  if (KeyEntry* entry = std::exchange(entry_, nullptr)) entry->cache_.release(entry);
}

KeyCache::KeyCache(CacheOptions options)
    : options_(options),
      live_until_(TimePoint::min().time_since_epoch().count()),
      gap_after_(TimePoint::min().time_since_epoch().count()) {
  for (Shard& shard : shards_) shard.entries.set_hash(options_.hash);
}

KeyCache::~KeyCache() {
  for (Shard& shard : shards_) {
    for (KeyEntry* entry : shard.entries.take_all()) {
      entry->~KeyEntry();
      ::operator delete(static_cast<void*>(entry));
    }
  }
}

KeyCache::Shard& KeyCache::shard_of(std::string_view id) {
  // The index of a shard uses the low bits of the same hash.
  return shards_[(options_.hash(id) >> 40) % kShards];
}

size_t KeyCache::longest_chain() const {
  size_t longest = 0;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    longest = std::max(longest, shard.entries.longest_chain());
  }
  return longest;
}

KeyRef KeyCache::find_locked(Shard& shard, std::string_view id) {
  return KeyRef(shard.entries.find(id));
}

KeyRef KeyCache::acquire(std::string_view id) {
  Shard& shard = shard_of(id);
  std::lock_guard lock(shard.mutex);
  if (KeyRef known = find_locked(shard, id)) return known;
  // The id follows the entry, in the same allocation.
  void* memory = ::operator new(sizeof(KeyEntry) + id.size());
  auto* entry = new (memory) KeyEntry(*this, static_cast<uint8_t>(id.size()));
  std::copy(id.begin(), id.end(), reinterpret_cast<char*>(entry + 1));
  shard.entries.insert(*entry);
  return KeyRef(entry);
}

KeyRef KeyCache::find(std::string_view id) {
  Shard& shard = shard_of(id);
  std::lock_guard lock(shard.mutex);
  return find_locked(shard, id);
}

void KeyCache::release(KeyEntry* entry) {
  // All but the last reference are released without the shard's lock. The last one is released
  // under it, so that nobody can find the entry between its count reaching zero and its
  // destruction.
  uint32_t refs = entry->refs_.load(std::memory_order_relaxed);
  while (refs > 1) {
    if (entry->refs_.compare_exchange_weak(refs, refs - 1, std::memory_order_acq_rel)) return;
  }
  Shard& shard = shard_of(entry->id());
  std::lock_guard lock(shard.mutex);
  if (entry->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    destroy_if_idle_locked(shard, entry);
  }
}

void KeyCache::destroy_if_idle_locked(Shard& shard, KeyEntry* entry) {
  if (entry->refs_.load(std::memory_order_acquire) != 0) return;
  {
    std::lock_guard spin(entry->spin_);
    if (entry->held_ == KeyEntry::Held::kKey) return;
  }
  shard.entries.erase(*entry);
  entry->~KeyEntry();
  ::operator delete(static_cast<void*>(entry));
}

TimePoint KeyCache::effective_check_locked(const KeyEntry& entry, TimePoint now) const {
  const uint32_t current = epoch();
  if (entry.epoch_ != current) {
    // Nothing was missed up to the gap, so not every key that is read after it needs a region.
    if (entry.epoch_ == 0 || entry.epoch_ + 1 != current) return entry.checked_at_;
    return std::max(entry.checked_at_,
                    TimePoint(Duration(gap_after_.load(std::memory_order_acquire))));
  }
  if (live()) return now;
  // The feed has ended: it has announced all changes up to then.
  return std::max(entry.checked_at_,
                  TimePoint(Duration(live_until_.load(std::memory_order_acquire))));
}

KeyCache::Peeked KeyCache::peek(KeyEntry& entry, TimePoint now, uint32_t version) const {
  Peeked peeked;
  TimePoint checked_at;
  {
    std::lock_guard spin(entry.spin_);
    if (entry.held_ == KeyEntry::Held::kNothing) return peeked;
    checked_at = effective_check_locked(entry, now);
    if (entry.held_ == KeyEntry::Held::kRevoked) {
      if (now - checked_at < kRevokedFor) peeked.what = Peek::kRevoked;
      peeked.state = entry.memory_.deleted != 0 ? KeyState::kDeleted : KeyState::kDisabled;
      return peeked;
    }
    if (version != 0 && entry.key_->version != version) return peeked;
    if (now - checked_at > options_.serve_stale_for) return peeked;
    // Marked as a gap: the epoch differs, and however recent the check, it may have come before the
    // change.
    const bool same_epoch = entry.epoch_ == epoch();
    if (same_epoch && (live() || now - checked_at < options_.fresh_for)) {
      peeked.what = Peek::kServe;
    } else {
      peeked.what = Peek::kServeAndRefresh;
    }
    peeked.key = entry.key_;
  }
  if (!entry.used_.load(std::memory_order_relaxed)) {
    entry.used_.store(true, std::memory_order_relaxed);
  }
  if (peeked.what == Peek::kServeAndRefresh &&
      (entry.refreshing_.load(std::memory_order_relaxed) ||
       entry.refreshing_.exchange(true, std::memory_order_acq_rel))) {
    peeked.what = Peek::kServe;  // another caller is checking it
  }
  return peeked;
}

void KeyCache::put(KeyEntry& entry, SharedKey key, TimePoint checked_at, uint32_t epoch) {
  SharedKey before;  // wiped outside the locks
  entry.bytes_.store(static_cast<uint32_t>(key->key.size()), std::memory_order_relaxed);
  bool too_many = false;
  {
    Shard& shard = shard_of(entry.id());
    std::lock_guard lock(shard.mutex);
    std::lock_guard spin(entry.spin_);
    if (entry.held_ != KeyEntry::Held::kKey) {
      entry.place_ = static_cast<uint32_t>(shard.held.size());
      shard.held.push_back(&entry);
      too_many = held_count_.fetch_add(1, std::memory_order_relaxed) + 1 > options_.keys;
    }
    before = std::exchange(entry.key_, std::move(key));
    entry.held_ = KeyEntry::Held::kKey;
    entry.checked_at_ = checked_at;
    entry.epoch_ = epoch;
  }
  // Not counted as a use: one pass over many ids must not evict the keys in use.
  entry.used_.store(false, std::memory_order_relaxed);
  if (too_many) evict(1, &entry);
}

bool KeyCache::confirm(KeyEntry& entry, uint32_t version, TimePoint checked_at, uint32_t epoch) {
  std::lock_guard spin(entry.spin_);
  if (entry.held_ != KeyEntry::Held::kKey || entry.key_->version != version) return false;
  entry.checked_at_ = std::max(entry.checked_at_, checked_at);
  entry.epoch_ = epoch;
  return true;
}

void KeyCache::forget_held_locked(Shard& shard, KeyEntry& entry) {
  KeyEntry* last = shard.held.back();
  shard.held[entry.place_] = last;
  last->place_ = entry.place_;
  shard.held.pop_back();
  held_count_.fetch_sub(1, std::memory_order_relaxed);
}

SharedKey KeyCache::take_locked(Shard& shard, KeyEntry& entry, KeyEntry::Held now) {
  if (entry.held_ == KeyEntry::Held::kKey) forget_held_locked(shard, entry);
  entry.held_ = now;
  return std::exchange(entry.key_, nullptr);
}

void KeyCache::revoke(KeyEntry& entry, TimePoint checked_at, uint32_t epoch) {
  SharedKey before;
  Shard& shard = shard_of(entry.id());
  std::lock_guard lock(shard.mutex);
  std::lock_guard spin(entry.spin_);
  before = take_locked(shard, entry, KeyEntry::Held::kRevoked);
  entry.checked_at_ = checked_at;
  entry.epoch_ = epoch;
}

void KeyCache::drop(KeyEntry& entry) {
  SharedKey before;
  Shard& shard = shard_of(entry.id());
  std::lock_guard lock(shard.mutex);
  std::lock_guard spin(entry.spin_);
  before = take_locked(shard, entry, KeyEntry::Held::kNothing);
}

void KeyCache::doubt(KeyEntry& entry) {
  std::lock_guard spin(entry.spin_);
  entry.epoch_ = 0;
}

void KeyCache::refreshed(KeyEntry& entry) {
  entry.refreshing_.store(false, std::memory_order_release);
}

SharedKey KeyCache::held(const KeyEntry& entry) const {
  std::lock_guard spin(entry.spin_);
  return entry.key_;
}

KeyCache::Known KeyCache::known(const KeyEntry& entry, TimePoint now) const {
  std::lock_guard spin(entry.spin_);
  Known known;
  known.memory = entry.memory_;
  if (entry.held_ == KeyEntry::Held::kKey) {
    known.cached = entry.key_->version;
    known.confirmed_at = effective_check_locked(entry, now);
  } else if (entry.checked_at_ != TimePoint{}) {
    known.confirmed_at = entry.checked_at_;
  }
  return known;
}

void KeyCache::remember(KeyEntry& entry, const Record& accepted) {
  const Remembered memory = remembered(accepted);
  std::lock_guard spin(entry.spin_);
  // Whose key was not looked at now.
  if (memory.rkms != 0 && memory.version == 0 && entry.memory_.rkms != 0) return;
  entry.memory_ = memory;
}

void KeyCache::set_live(bool live, TimePoint as_of) {
  if (live == this->live()) return;
  if (live) {
    // What changed before the feed began was never announced.
    if (!was_live_.exchange(true)) mark_gap();
  } else {
    live_until_.store(as_of.time_since_epoch().count(), std::memory_order_release);
  }
  live_.store(live, std::memory_order_release);
}

void KeyCache::mark_gap() {
  // While the feed still seems live, nobody knows since when it has been incomplete.
  const int64_t told = live() ? TimePoint::min().time_since_epoch().count()
                              : live_until_.load(std::memory_order_acquire);
  gap_after_.store(told, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
}

size_t KeyCache::evict_locked(Shard& shard, size_t keys, const KeyEntry* spare, size_t looks,
                              std::vector<SharedKey>& gone) {
  // Second chance: keys used since the hand's last pass are skipped once.
  size_t evicted = 0;
  while (evicted < keys && !shard.held.empty() && looks-- > 0) {
    if (shard.hand >= shard.held.size()) shard.hand = 0;
    KeyEntry* entry = shard.held[shard.hand];
    if (entry == spare || entry->used_.exchange(false, std::memory_order_relaxed)) {
      ++shard.hand;
      continue;
    }
    {
      std::lock_guard spin(entry->spin_);
      gone.push_back(take_locked(shard, *entry, KeyEntry::Held::kNothing));
    }
    ++shard.evictions;
    ++evicted;
    destroy_if_idle_locked(shard, entry);
  }
  return evicted;
}

size_t KeyCache::evict(size_t keys, const KeyEntry* spare) {
  // Starts at the shard of the key that needs room, so that every shard pays for its own; the other
  // shards are used only if it has nothing to evict.
  const size_t first =
      spare == nullptr ? 0 : static_cast<size_t>(&shard_of(spare->id()) - &shards_[0]);
  // First an even share of the unused keys of every shard, then anything left.
  const size_t share = keys / kShards + 1;
  size_t evicted = 0;
  for (const bool all : {false, true}) {
    const size_t most = all ? keys : share;
    for (size_t i = 0; i < kShards && evicted < keys; ++i) {
      Shard& shard = shards_[(first + i) % kShards];
      std::vector<SharedKey> gone;  // wiped outside the lock
      std::lock_guard lock(shard.mutex);
      const size_t looks = shard.held.size() * (all ? 2 : 1);
      evicted += evict_locked(shard, std::min(most, keys - evicted), spare, looks, gone);
    }
  }
  return evicted;
}

size_t KeyCache::shrink(size_t keys) { return evict(keys, nullptr); }

const std::string* KeyCache::region_name(const std::string& name) {
  std::lock_guard lock(names_mutex_);
  return &*names_.insert(name).first;
}

KeyCache::Usage KeyCache::usage() const {
  Usage usage;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    usage.entries += shard.entries.size();
    usage.keys += shard.held.size();
    usage.evictions += shard.evictions;
  }
  return usage;
}

CacheRoom fit_cache(size_t wanted, uint32_t key_bytes, size_t lockable_bytes) {
  constexpr size_t kSlot = 16;  // the arena rounds small secrets up to this
  const size_t each = (key_bytes + kSlot - 1) / kSlot * kSlot;
  const size_t room = lockable_bytes / 4 * 3 / each;
  if (room >= wanted) return {wanted, ""};
  const size_t keys = std::max<size_t>(room, 1);
  return {keys, "only " + std::to_string(keys) + " of cache_keys = " + std::to_string(wanted) +
                    " keys fit in the memory that may be locked (" +
                    std::to_string(lockable_bytes / 1024) +
                    " KiB): the least used ones are fetched again when read; raise RLIMIT_MEMLOCK "
                    "(ulimit -l, LimitMEMLOCK= in a systemd unit)"};
}

}  // namespace keyfs
