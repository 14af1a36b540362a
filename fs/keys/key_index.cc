#include "fs/keys/key_index.h"

#include <algorithm>
#include <utility>

#include "fs/keys/key_cache.h"

namespace keyfs {

size_t KeyIndex::bucket_of(std::string_view id) const { return hash_(id) & (buckets_.size() - 1); }

KeyEntry* KeyIndex::find(std::string_view id) const {
  if (buckets_.empty()) return nullptr;
  KeyEntry* entry = buckets_[bucket_of(id)];
  while (entry != nullptr && entry->id() != id) entry = entry->next_;
  return entry;
}

void KeyIndex::insert(KeyEntry& entry) {
  if (size_ == buckets_.size()) grow();
  KeyEntry*& first = buckets_[bucket_of(entry.id())];
  entry.next_ = std::exchange(first, &entry);
  ++size_;
}

void KeyIndex::erase(KeyEntry& entry) {
  KeyEntry** link = &buckets_[bucket_of(entry.id())];
  while (*link != &entry) link = &(*link)->next_;
  *link = std::exchange(entry.next_, nullptr);
  --size_;
}

std::vector<KeyEntry*> KeyIndex::take_all() {
  std::vector<KeyEntry*> all;
  all.reserve(size_);
  for (KeyEntry* entry : buckets_) {
    for (; entry != nullptr; entry = entry->next_) all.push_back(entry);
  }
  buckets_.clear();
  size_ = 0;
  return all;
}

size_t KeyIndex::longest_chain() const {
  size_t longest = 0;
  for (const KeyEntry* entry : buckets_) {
    size_t length = 0;
    for (; entry != nullptr; entry = entry->next_) ++length;
    longest = std::max(longest, length);
  }
  return longest;
}

void KeyIndex::grow() {
  std::vector<KeyEntry*> before(std::max<size_t>(8, 2 * buckets_.size()), nullptr);
  before.swap(buckets_);
  for (KeyEntry* entry : before) {
    while (entry != nullptr) {
      KeyEntry*& first = buckets_[bucket_of(entry->id())];
      KeyEntry* next = std::exchange(entry->next_, first);
      first = std::exchange(entry, next);
    }
  }
}

}  // namespace keyfs
