#include "fs/mount/key_words.h"

namespace keyfs {

const PolicySection& section_of(const KeyEntry& entry, const Policy& policy) {
  std::atomic<const void*>& word = entry.words().pointer;
  const auto* known = static_cast<const PolicySection*>(word.load(std::memory_order_acquire));
  if (known == nullptr || known->policy != &policy) {
    known = &policy.section_for(entry.id());
    word.store(known, std::memory_order_release);
  }
  return *known;
}

}  // namespace keyfs
