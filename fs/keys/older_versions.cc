#include "fs/keys/older_versions.h"

#include <algorithm>
#include <utility>

namespace keyfs {

OlderVersions::Slot* OlderVersions::find(uint32_t version) {
  for (Slot& slot : slots_) {
    if (slot.key->version == version) return &slot;
  }
  return nullptr;
}

SharedKey OlderVersions::put(SharedKey key, bool used) {
  if (Slot* slot = find(key->version)) return std::exchange(slot->key, std::move(key));
  slots_.push_back({std::move(key), used});
  return nullptr;
}

SharedKey OlderVersions::take(uint32_t version) {
  Slot* slot = find(version);
  if (slot == nullptr) return nullptr;
  SharedKey key = std::move(slot->key);
  if (slot != &slots_.back()) *slot = std::move(slots_.back());
  slots_.pop_back();
  return key;
}

void OlderVersions::take_over(OlderVersions& other) {
  for (Slot& slot : other.slots_) slots_.push_back(std::move(slot));
  other.slots_.clear();
  min_ = other.min_;
  destroyed_ = other.destroyed_;
}

size_t OlderVersions::evict(size_t most, uint32_t spare, std::vector<SharedKey>& gone) {
  size_t evicted = 0;
  for (size_t i = slots_.size(); i-- > 0 && evicted < most;) {
    Slot& slot = slots_[i];
    if (slot.key->version == spare || std::exchange(slot.used, false)) continue;
    gone.push_back(take(slot.key->version));
    ++evicted;
  }
  return evicted;
}

}  // namespace keyfs
