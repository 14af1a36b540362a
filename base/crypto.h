// Hashes, authenticated encryption and randomness, by OpenSSL.
//
// Thread-safety: the functions and Random may be used from any thread. Ownership: results are
// the caller's; plaintext is only in the caller's memory and in SecretBytes. Blocking:
// never (except that OsRandom may wait for the kernel's entropy pool early in the boot). Errors:
// kUnavailable if OpenSSL fails (no memory, no provider), and those that a function names.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

using Sha256 = std::array<uint8_t, 32>;

// The bytes of a text, e.g. as an argument below.
inline std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// FIPS 180-4.
Result<Sha256> sha256(std::span<const uint8_t> bytes);
// RFC 2104 with SHA-256; a key of any size.
Result<Sha256> hmac_sha256(std::span<const uint8_t> key, std::span<const uint8_t> bytes);

// False for different sizes. Takes time that depends only on the sizes.
bool constant_time_equal(std::span<const uint8_t> a, std::span<const uint8_t> b);

// Where random bytes come from. Thread-safe.
class Random {
 public:
  virtual ~Random() = default;
  // Fills `out` with bytes that are good enough for keys, or fails; never with weaker ones. Do not
  // use the contents of `out` after a failure.
  virtual Result<void> fill(std::span<uint8_t> out) = 0;

  // `size` random bytes in locked memory. Errors: fill()'s, and SecretArena::allocate()'s.
  Result<SecretBytes> secret(SecretArena& arena, size_t size);
};

// OpenSSL's generator for private values (RAND_priv_bytes: a CTR_DRBG seeded by the kernel).
class OsRandom final : public Random {
 public:
  Result<void> fill(std::span<uint8_t> out) override;
};

// AES-256-GCM (NIST SP 800-38D). A sealed text is
//   nonce (12 bytes, random) | ciphertext (as long as the plaintext) | tag (16 bytes)
// It opens only under the same key and the same associated data. With random nonces one key may
// seal 2^32 times (section 8.3).
constexpr size_t kAesKeyBytes = 32;
constexpr size_t kSealNonceBytes = 12;
constexpr size_t kSealTagBytes = 16;
constexpr size_t kSealOverhead = kSealNonceBytes + kSealTagBytes;

// kInvalid unless the key has kAesKeyBytes.
Result<std::vector<uint8_t>> aes_256_gcm_seal(std::span<const uint8_t> key,
                                              std::span<const uint8_t> associated_data,
                                              std::span<const uint8_t> plaintext, Random& random);
// kCorrupt if it does not authenticate, kInvalid unless the key has kAesKeyBytes.
Result<SecretBytes> aes_256_gcm_open(SecretArena& arena, std::span<const uint8_t> key,
                                     std::span<const uint8_t> associated_data,
                                     std::span<const uint8_t> sealed);

// The key check value of a data key, which a record holds for each version. It is stored forever:
// this format never changes.
//
//   check   = the first 16 bytes of HMAC-SHA256(key = the data key, message)
//   message = field("keyfs key check v1") | field(id) | field(version)
//   field(x) = the length of x in bytes, 4 bytes big-endian | x
//
// The id goes in as its bytes in the record; the version as 8 bytes, big-endian. So the message for
// id "orders", version 1 is, in hex,
//   00000012 6b65796673206b657920636865636b207631
//   00000006 6f7264657273
//   00000008 0000000000000001
// An empty data key is Code::kInvalid. HMAC cannot tell a key from the same key padded with zero
// bytes (up to 64 bytes): compare the key's size before comparing checks.
constexpr size_t kKeyCheckBytes = 16;
using KeyCheckValue = std::array<uint8_t, kKeyCheckBytes>;

Result<KeyCheckValue> key_check_value(std::span<const uint8_t> data_key, std::string_view id,
                                      uint64_t version);

}  // namespace keyfs
