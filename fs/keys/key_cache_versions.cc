// KeyCache: putting in, following a record, and eviction, of each version.
#include <algorithm>

#include "fs/keys/key_cache.h"
#include "store/record_versions.h"

namespace keyfs {

void KeyCache::put(KeyEntry& entry, SharedKey key, TimePoint checked_at, uint32_t epoch) {
  entry.bytes_.store(static_cast<uint32_t>(key->key.size()), std::memory_order_relaxed);
  insert(entry, std::move(key), true, checked_at, epoch);
}

void KeyCache::put_older(KeyEntry& entry, SharedKey key, TimePoint checked_at, uint32_t epoch) {
  insert(entry, std::move(key), false, checked_at, epoch);
}

void KeyCache::insert(KeyEntry& entry, SharedKey key, bool current, TimePoint checked_at,
                      uint32_t epoch) {
  const uint32_t version = key->version;
  // Made outside the locks, wiped and freed outside them: nearly all keys have only one version.
  std::unique_ptr<OlderVersions> room;
  {
    std::lock_guard spin(entry.spin_);
    const bool replaces = entry.key_ == nullptr || entry.key_->version == version;
    if (!current || !replaces) room = std::make_unique<OlderVersions>();
  }
  if (room != nullptr) room->reserve(all_held(entry).size() + 1);
  SharedKey before;
  SharedKey promoted;
  bool too_many = false;
  {
    Shard& shard = shard_of(entry.id());
    std::lock_guard lock(shard.mutex);
    std::lock_guard spin(entry.spin_);
    const size_t count = entry.keys();
    if (room != nullptr && (entry.older_ == nullptr || !entry.older_->has_room())) {
      if (entry.older_ != nullptr) room->take_over(*entry.older_);
      std::swap(room, entry.older_);
    }
    if (!current) {
      before = entry.older_->put(std::move(key), false);
    } else {
      if (entry.key_ != nullptr && entry.key_->version != version) {
        const bool used = entry.used_.load(std::memory_order_relaxed);
        entry.older_->put(std::exchange(entry.key_, nullptr), used);
      }
      if (entry.older_ != nullptr) promoted = entry.older_->take(version);
      before = std::exchange(entry.key_, std::move(key));
      // Not counted as a use: one pass over many ids must not evict the keys in use.
      entry.used_.store(false, std::memory_order_relaxed);
    }
    recount_locked(shard, entry, count);
    too_many = entry.keys() > count && held_count_.load(std::memory_order_relaxed) > options_.keys;
    // The record was confirmed for the other versions too, or already was later.
    entry.checked_at_ = count != 0 ? std::max(entry.checked_at_, checked_at) : checked_at;
    entry.epoch_ = epoch;
  }
  if (too_many) evict(1, {&entry, version});
}

KeyCache::Followed KeyCache::follow(KeyEntry& entry, const Record& accepted) {
  Followed news;
  const Remembered memory = remembered(accepted);
  const auto current = accepted.versions.find(accepted.current);
  bool versions = false;
  size_t count = 0;
  {
    std::lock_guard spin(entry.spin_);
    if (goes_back(entry.memory_, accepted)) return news;
    // Whose key was not looked at now.
    if (memory.rkms != 0 && memory.version == 0 && entry.memory_.rkms != 0) return news;
    if (entry.memory_.version != 0 && memory.version != 0 &&
        memory.version != entry.memory_.version) {
      news.from = entry.memory_.version;
      news.to = accepted.current;
    }
    entry.memory_ = memory;
    versions = entry.older_ != nullptr || accepted.min != 0 ||
               (entry.key_ != nullptr && entry.key_->version != accepted.current);
    count = entry.keys();
  }
  if (!versions && news.from == 0) return news;
  if (current != accepted.versions.end() && current->second.bytes != 0) {
    entry.bytes_.store(current->second.bytes, std::memory_order_relaxed);
  }
  if (!versions) return news;
  auto next = std::make_unique<OlderVersions>();
  next->reserve(count);
  next->set_min(accepted.min);
  const auto destroyed =
      std::count_if(accepted.versions.begin(), accepted.versions.end(),
                    [](const auto& version) { return !version.second.destroyed.empty(); });
  next->set_destroyed(static_cast<size_t>(destroyed));
  std::vector<SharedKey> gone;
  gone.reserve(count);
  uint32_t min_before = 0;
  size_t destroyed_before = 0;
  {
    Shard& shard = shard_of(entry.id());
    std::lock_guard lock(shard.mutex);
    std::lock_guard spin(entry.spin_);
    const size_t before = entry.keys();
    SharedKey now;
    const auto sort = [&](const SharedKey& key, bool used) {
      if (version_state(accepted, key->version) != VersionState::kReadable) {
        gone.push_back(key);
      } else if (key->version != accepted.current) {
        next->put(key, used);
      } else {
        now = key;
        entry.used_.store(used, std::memory_order_relaxed);
      }
    };
    const bool used = entry.used_.load(std::memory_order_relaxed);
    if (entry.key_ != nullptr) sort(entry.key_, used);
    if (entry.older_ != nullptr) {
      min_before = entry.older_->min();
      destroyed_before = entry.older_->destroyed();
      for (const OlderVersions::Slot& slot : entry.older_->slots()) sort(slot.key, slot.used);
    }
    entry.key_ = std::move(now);
    std::swap(entry.older_, next);
    recount_locked(shard, entry, before);
  }
  for (const auto& [number, version] : accepted.versions) {
    const VersionState state = version_state(accepted, number);
    if (state != VersionState::kRetired && state != VersionState::kDestroyed) continue;
    const auto is_it = [number = number](const SharedKey& key) { return key->version == number; };
    // Destroyed is for good, so that their number tells whether one has come since. It may be above
    // `min` again: told each time, pages would be dropped at each refresh.
    const bool new_here = state == VersionState::kRetired
                              ? number >= min_before
                              : static_cast<size_t>(destroyed) != destroyed_before;
    if (new_here || std::any_of(gone.begin(), gone.end(), is_it)) {
      news.ended.push_back(number);
    }
  }
  return news;
}

SharedKey KeyCache::held(const KeyEntry& entry, uint32_t version) const {
  std::lock_guard spin(entry.spin_);
  if (version == 0 || (entry.key_ != nullptr && entry.key_->version == version)) return entry.key_;
  OlderVersions::Slot* slot = entry.older_ != nullptr ? entry.older_->find(version) : nullptr;
  return slot != nullptr ? slot->key : nullptr;
}

std::vector<SharedKey> KeyCache::all_held(const KeyEntry& entry) const {
  std::vector<SharedKey> all;
  size_t count = 0;
  {
    std::lock_guard spin(entry.spin_);
    count = entry.keys();
  }
  all.reserve(count);  // only the loop's thread adds any
  std::lock_guard spin(entry.spin_);
  if (entry.key_ != nullptr) all.push_back(entry.key_);
  if (entry.older_ == nullptr) return all;
  for (const OlderVersions::Slot& slot : entry.older_->slots()) all.push_back(slot.key);
  return all;
}

KeyCache::Known KeyCache::known(const KeyEntry& entry, TimePoint now) const {
  std::lock_guard spin(entry.spin_);
  Known known;
  known.memory = entry.memory_;
  known.any = entry.held_ == KeyEntry::Held::kKey;
  known.revoked = entry.held_ == KeyEntry::Held::kRevoked;
  if (known.any) {
    if (entry.key_ != nullptr) known.cached = entry.key_->version;
    known.confirmed_at = effective_check_locked(entry, now);
  } else if (entry.checked_at_ != TimePoint{}) {
    known.confirmed_at = entry.checked_at_;
  }
  return known;
}

size_t KeyCache::evict_unused_locked(KeyEntry& entry, size_t keys, Spare spare,
                                     std::vector<SharedKey>& gone) {
  const bool spares = spare.entry == &entry;
  size_t evicted = 0;
  if (entry.older_ != nullptr) {
    evicted = entry.older_->evict(keys, spares ? spare.version : 0, gone);
  }
  if (evicted == keys || entry.key_ == nullptr) return evicted;
  if (spares && entry.key_->version == spare.version) return evicted;
  if (entry.used_.exchange(false, std::memory_order_relaxed)) return evicted;
  gone.push_back(std::exchange(entry.key_, nullptr));
  return evicted + 1;
}

size_t KeyCache::evict_locked(Shard& shard, size_t keys, Spare spare, size_t looks,
                              std::vector<SharedKey>& gone) {
  // Second chance: keys used since the hand's last pass are skipped once.
  size_t evicted = 0;
  while (evicted < keys && !shard.held.empty() && looks-- > 0) {
    if (shard.hand >= shard.held.size()) shard.hand = 0;
    KeyEntry* entry = shard.held[shard.hand];
    size_t now = 0;
    bool empty = false;
    {
      std::lock_guard spin(entry->spin_);
      const size_t before = entry->keys();
      now = evict_unused_locked(*entry, keys - evicted, spare, gone);
      recount_locked(shard, *entry, before);
      empty = entry->keys() == 0;
    }
    shard.evictions += now;
    evicted += now;
    if (empty) {
      destroy_if_idle_locked(shard, entry);
    } else {
      ++shard.hand;
    }
  }
  return evicted;
}

size_t KeyCache::evict(size_t keys, Spare spare) {
  // Starts at the shard of the key that needs room, so that every shard pays for its own; the other
  // shards are used only if it has nothing to evict.
  const size_t first =
      spare.entry == nullptr ? 0 : static_cast<size_t>(&shard_of(spare.entry->id()) - &shards_[0]);
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

size_t KeyCache::shrink(size_t keys) { return evict(keys, {}); }

}  // namespace keyfs
