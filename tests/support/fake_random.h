// Random bytes that a test knows, and a source that fails.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "base/crypto.h"

namespace keyfs {

// Never gives the same eight bytes twice; the same ones in each run.
class FakeRandom final : public Random {
 public:
  explicit FakeRandom(uint64_t seed = 1) : next_(seed << 32) {}
  Result<void> fill(std::span<uint8_t> out) override {
    for (size_t i = 0; i < out.size(); i += 8) {
      uint64_t word = next_++ * 0x9e3779b97f4a7c15u;  // odd, so that distinct words stay distinct
      for (size_t j = i; j < std::min(i + 8, out.size()); ++j, word >>= 8) {
        out[j] = static_cast<uint8_t>(word);
      }
    }
    return {};
  }

 private:
  std::atomic<uint64_t> next_;
};

// Gives the bytes it was made with, over and over.
class FixedRandom final : public Random {
 public:
  explicit FixedRandom(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}
  Result<void> fill(std::span<uint8_t> out) override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = bytes_[i % bytes_.size()];
    return {};
  }

 private:
  const std::vector<uint8_t> bytes_;
};

class BrokenRandom final : public Random {
 public:
  Result<void> fill(std::span<uint8_t> /*out*/) override {
    return fail(Code::kUnavailable, "no random bytes today");
  }
};

}  // namespace keyfs
