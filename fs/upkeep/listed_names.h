// A set of names seen in a list: 64 bits of a hash each, at most half full. With a million names, a
// name not in the set is mistaken for one in it once in 2^44 times.
//
// Thread-safety: none. Ownership: its own memory. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/siphash.h"

namespace keyfs {

class ListedNames {
 public:
  // A hash that nobody can predict, since users choose the names.
  explicit ListedNames(const SipHash& hash) : hash_(hash) {}

  void add(std::string_view name) {
    if (2 * (size_ + 1) > places_.size()) grow();
    if (put(hash_of(name))) ++size_;
  }
  bool contains(std::string_view name) const {
    return !places_.empty() && places_[place_of(hash_of(name))] != 0;
  }
  size_t size() const { return size_; }

 private:
  uint64_t hash_of(std::string_view name) const {
    const uint64_t hash = hash_(name);
    return hash == 0 ? 1 : hash;
  }

  size_t place_of(uint64_t hash) const {
    const size_t last = places_.size() - 1;
    size_t place = hash & last;
    while (places_[place] != 0 && places_[place] != hash) place = (place + 1) & last;
    return place;
  }
  bool put(uint64_t hash) {
    uint64_t& place = places_[place_of(hash)];
    const bool is_new = place == 0;
    place = hash;
    return is_new;
  }
  void grow() {
    std::vector<uint64_t> before(places_.empty() ? 64 : 2 * places_.size());
    before.swap(places_);
    for (const uint64_t hash : before) {
      if (hash != 0) put(hash);
    }
  }

  const SipHash hash_;
  std::vector<uint64_t> places_;  // a power of two; 0 is free
  size_t size_ = 0;
};

}  // namespace keyfs
