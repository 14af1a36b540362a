// The cached versions of one key that are not its current one, and which versions are known to be
// refused. Nearly no key has any: an entry of the cache holds a pointer to this.
//
// Thread-safety: none; under its entry's lock. Ownership: shares the keys with those that read
// them. Blocking: never; only reserve() allocates, so that nothing allocates, or wipes a key, under
// the lock. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fs/keys/data_key.h"

namespace keyfs {

class OlderVersions {
 public:
  struct Slot {
    SharedKey key;
    bool used = false;  // since the hand of the eviction passed
  };

  // nullptr: that version is not here.
  Slot* find(uint32_t version);
  // Room for that many in all. Call before the lock is taken, of a list that nobody sees yet.
  void reserve(size_t count) { slots_.reserve(count); }
  bool has_room() const { return slots_.size() < slots_.capacity(); }
  // Replaces the version if it is here, otherwise there must be room. Returns what it replaced.
  SharedKey put(SharedKey key, bool used);
  // nullptr: that version is not here.
  SharedKey take(uint32_t version);
  // Takes over everything from `other`, for which there must be room.
  void take_over(OlderVersions& other);

  size_t size() const { return slots_.size(); }
  const std::vector<Slot>& slots() const { return slots_; }

  // Lower versions are refused; 0: none.
  uint32_t min() const { return min_; }
  void set_min(uint32_t min) { min_ = min; }
  // How many of the record were destroyed when it was looked at last.
  size_t destroyed() const { return destroyed_; }
  void set_destroyed(size_t count) { destroyed_ = count; }

  // Moves up to `most` versions that were not used since the last time to `gone`, `spare` never.
  // Returns how many.
  size_t evict(size_t most, uint32_t spare, std::vector<SharedKey>& gone);

 private:
  std::vector<Slot> slots_;
  uint32_t min_ = 0;
  size_t destroyed_ = 0;
};

}  // namespace keyfs
