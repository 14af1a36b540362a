// The entries of one shard of the key cache, found by id: a hash table with its links in the
// entries themselves, which costs 16 bytes per entry instead of std::unordered_set's 44. Callers
// choose ids, so the hash has a key that they do not know.
//
// Thread-safety: none; under its shard's lock. Ownership: none, the cache owns the entries.
// Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/siphash.h"

namespace keyfs {

class KeyEntry;

class KeyIndex {
 public:
  // Call before anything else.
  void set_hash(const SipHash& hash) { hash_ = hash; }

  // nullptr if it is absent.
  KeyEntry* find(std::string_view id) const;
  // `entry` must not be in any index.
  void insert(KeyEntry& entry);
  void erase(KeyEntry& entry);
  size_t size() const { return size_; }
  // Removes and returns all of them.
  std::vector<KeyEntry*> take_all();
  // The most entries that a find() compares. Walks all of them.
  size_t longest_chain() const;

 private:
  size_t bucket_of(std::string_view id) const;
  void grow();

  SipHash hash_;
  std::vector<KeyEntry*> buckets_;  // a power of two of chains, or none
  size_t size_ = 0;
};

}  // namespace keyfs
