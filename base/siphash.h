// A hash that nobody can predict: SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast
// short-input PRF", 2012), for tables whose keys a stranger chooses. With std::hash, a user who
// chooses names could put thousands of them in one chain.
//
// Thread-safety: a plain value. Blocking: never. Errors: only random()'s.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace keyfs {

class Random;

class SipHash {
 public:
  // With a well-known key: for tests.
  SipHash() = default;
  SipHash(uint64_t k0, uint64_t k1) : k0_(k0), k1_(k1) {}
  // With a random key. Errors: those of the source.
  static Result<SipHash> random(Random& random);

  uint64_t operator()(std::string_view text) const;

  using is_transparent = void;  // for std::unordered_map

 private:
  uint64_t k0_ = 0;
  uint64_t k1_ = 0;
};

}  // namespace keyfs
