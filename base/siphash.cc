#include "base/siphash.h"

#include <array>
#include <bit>

#include "base/crypto.h"

namespace keyfs {
namespace {

uint64_t little_endian(const char* bytes, size_t count) {
  uint64_t word = 0;
  for (size_t i = 0; i < count; ++i) {
    word |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return word;
}

struct State {
  uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void take(uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
};

}  // namespace

Result<SipHash> SipHash::random(Random& random) {
  std::array<uint8_t, 16> key{};
  if (auto filled = random.fill(key); !filled) return fail(std::move(filled.error()));
  const char* bytes = reinterpret_cast<const char*>(key.data());
  return SipHash(little_endian(bytes, 8), little_endian(bytes + 8, 8));
}

uint64_t SipHash::operator()(std::string_view text) const {
  State state{k0_ ^ 0x736f6d6570736575u, k1_ ^ 0x646f72616e646f6du, k0_ ^ 0x6c7967656e657261u,
              k1_ ^ 0x7465646279746573u};
  const uint64_t size = text.size();
  for (; text.size() >= 8; text.remove_prefix(8)) state.take(little_endian(text.data(), 8));
  state.take(little_endian(text.data(), text.size()) | size << 56);
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace keyfs
