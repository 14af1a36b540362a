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

Error revoked(const std::string& id, KeyState state, uint32_t version) {
  if (state == KeyState::kEnabled) {
    return Error(Code::kRevoked, "version " + std::to_string(version) + " of key " + id +
                                     " is retired or destroyed");
  }
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
  bool current = false;
  {
    std::lock_guard spin(entry.spin_);
    if (entry.held_ == KeyEntry::Held::kRevoked) {
      if (now - effective_check_locked(entry, now) < kRevokedFor) peeked.what = Peek::kRevoked;
      peeked.state = entry.memory_.deleted != 0 ? KeyState::kDeleted : KeyState::kDisabled;
      return peeked;
    }
    const SharedKey* key = nullptr;
    if (entry.key_ != nullptr && (version == 0 || entry.key_->version == version)) {
      key = &entry.key_;
      current = true;
    } else if (version != 0 && entry.older_ != nullptr) {
      if (version < entry.older_->min()) {
        if (now - effective_check_locked(entry, now) < kRevokedFor) peeked.what = Peek::kRevoked;
        return peeked;
      }
      if (OlderVersions::Slot* slot = entry.older_->find(version)) {
        slot->used = true;
        key = &slot->key;
      }
    }
    if (key == nullptr) return peeked;
    const TimePoint checked_at = effective_check_locked(entry, now);
    if (now - checked_at > options_.serve_stale_for) return peeked;
    // Marked as a gap: the epoch differs, and however recent the check, it may have come before the
    // change.
    const bool same_epoch = entry.epoch_ == epoch();
    if (same_epoch && (live() || now - checked_at < options_.fresh_for)) {
      peeked.what = Peek::kServe;
    } else {
      peeked.what = Peek::kServeAndRefresh;
    }
    peeked.key = *key;
  }
  if (current && !entry.used_.load(std::memory_order_relaxed)) {
    entry.used_.store(true, std::memory_order_relaxed);
  }
  if (peeked.what == Peek::kServeAndRefresh &&
      (entry.refreshing_.load(std::memory_order_relaxed) ||
       entry.refreshing_.exchange(true, std::memory_order_acq_rel))) {
    peeked.what = Peek::kServe;  // another caller is checking it
  }
  return peeked;
}

bool KeyCache::confirm(KeyEntry& entry, TimePoint checked_at, uint32_t epoch) {
  std::lock_guard spin(entry.spin_);
  if (entry.held_ == KeyEntry::Held::kRevoked) return false;
  entry.checked_at_ = std::max(entry.checked_at_, checked_at);
  entry.epoch_ = epoch;
  return entry.held_ == KeyEntry::Held::kKey;
}

void KeyCache::recount_locked(Shard& shard, KeyEntry& entry, size_t before) {
  const size_t now = entry.keys();
  shard.keys += now - before;  // wraps around, as it should
  held_count_.fetch_add(now - before, std::memory_order_relaxed);
  if (before == 0 && now != 0) {
    entry.place_ = static_cast<uint32_t>(shard.held.size());
    shard.held.push_back(&entry);
    entry.held_ = KeyEntry::Held::kKey;
  } else if (before != 0 && now == 0) {
    KeyEntry* last = shard.held.back();
    shard.held[entry.place_] = last;
    last->place_ = entry.place_;
    shard.held.pop_back();
    entry.held_ = KeyEntry::Held::kNothing;
  }
}

KeyCache::Taken KeyCache::take_locked(Shard& shard, KeyEntry& entry, KeyEntry::Held now) {
  const size_t before = entry.keys();
  Taken taken{std::exchange(entry.key_, nullptr), std::exchange(entry.older_, nullptr)};
  recount_locked(shard, entry, before);
  entry.held_ = now;
  return taken;
}

void KeyCache::revoke(KeyEntry& entry, TimePoint checked_at, uint32_t epoch) {
  Taken before;
  Shard& shard = shard_of(entry.id());
  std::lock_guard lock(shard.mutex);
  std::lock_guard spin(entry.spin_);
  before = take_locked(shard, entry, KeyEntry::Held::kRevoked);
  entry.checked_at_ = checked_at;
  entry.epoch_ = epoch;
}

void KeyCache::drop(KeyEntry& entry) {
  Taken before;
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

const std::string* KeyCache::region_name(const std::string& name) {
  std::lock_guard lock(names_mutex_);
  return &*names_.insert(name).first;
}

KeyCache::Usage KeyCache::usage() const {
  Usage usage;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    usage.entries += shard.entries.size();
    usage.keys += shard.keys;
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
