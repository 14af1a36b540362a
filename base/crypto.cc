#include "base/crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>

namespace keyfs {
namespace {

constexpr size_t kMostAtOnce = size_t{1} << 30;  // OpenSSL counts in int

struct FreeCipherContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }  // wipes it, too
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeCipherContext>;

tl::unexpected<Error> openssl_failed(const char* what) {
  char reason[160] = "no reason given";
  if (const unsigned long error = ERR_peek_last_error(); error != 0) {
    ERR_error_string_n(error, reason, sizeof reason);
  }
  ERR_clear_error();
  return fail(Code::kUnavailable, std::string("OpenSSL could not ") + what + ": " + reason);
}

Result<void> check_sizes(std::span<const uint8_t> key, std::span<const uint8_t> data,
                         std::span<const uint8_t> associated_data) {
  if (key.size() != kAesKeyBytes) {
    return fail(Code::kInvalid,
                "an AES-256 key has 32 bytes, but this one has " + std::to_string(key.size()));
  }
  if (data.size() > kMostAtOnce || associated_data.size() > kMostAtOnce) {
    return fail(Code::kInvalid, "too much to encrypt or decrypt at once");
  }
  return {};
}

// OpenSSL takes a null pointer as "no buffer", which is not the same as an empty one.
const uint8_t* pointer(std::span<const uint8_t> bytes) {
  static constexpr uint8_t kNothing = 0;
  return bytes.empty() ? &kNothing : bytes.data();
}

}  // namespace

Result<Sha256> sha256(std::span<const uint8_t> bytes) {
  Sha256 digest{};
  if (EVP_Digest(pointer(bytes), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) !=
      1) {
    return openssl_failed("compute SHA-256");
  }
  return digest;
}

Result<Sha256> hmac_sha256(std::span<const uint8_t> key, std::span<const uint8_t> bytes) {
  if (key.size() > kMostAtOnce) return fail(Code::kInvalid, "the HMAC key is too long");
  Sha256 mac{};
  if (HMAC(EVP_sha256(), pointer(key), static_cast<int>(key.size()), pointer(bytes), bytes.size(),
           mac.data(), nullptr) == nullptr) {
    return openssl_failed("compute HMAC-SHA256");
  }
  return mac;
}

bool constant_time_equal(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return a.size() == b.size() && CRYPTO_memcmp(pointer(a), pointer(b), a.size()) == 0;
}

Result<SecretBytes> Random::secret(SecretArena& arena, size_t size) {
  auto bytes = arena.allocate(size);
  if (!bytes) return bytes;
  if (auto done = fill(bytes->reveal_mutable()); !done) return fail(done.error());
  return bytes;
}

Result<void> OsRandom::fill(std::span<uint8_t> out) {
  while (!out.empty()) {
    const size_t part = std::min(out.size(), kMostAtOnce);
    if (RAND_priv_bytes(out.data(), static_cast<int>(part)) != 1) {
      return openssl_failed("make random bytes");
    }
    out = out.subspan(part);
  }
  return {};
}

Result<std::vector<uint8_t>> aes_256_gcm_seal(std::span<const uint8_t> key,
                                              std::span<const uint8_t> associated_data,
                                              std::span<const uint8_t> plaintext, Random& random) {
  if (auto good = check_sizes(key, plaintext, associated_data); !good) return fail(good.error());
  std::vector<uint8_t> sealed(plaintext.size() + kSealOverhead);
  uint8_t* const nonce = sealed.data();
  uint8_t* const ciphertext = nonce + kSealNonceBytes;
  uint8_t* const tag = ciphertext + plaintext.size();
  if (auto done = random.fill({nonce, kSealNonceBytes}); !done) return fail(done.error());

  const CipherContext context(EVP_CIPHER_CTX_new());
  int written = 0;
  if (context == nullptr ||
      EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce) != 1 ||
      EVP_EncryptUpdate(context.get(), nullptr, &written, pointer(associated_data),
                        static_cast<int>(associated_data.size())) != 1 ||
      EVP_EncryptUpdate(context.get(), ciphertext, &written, pointer(plaintext),
                        static_cast<int>(plaintext.size())) != 1 ||
      EVP_EncryptFinal_ex(context.get(), tag, &written) != 1 ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kSealTagBytes, tag) != 1) {
    return openssl_failed("encrypt with AES-256-GCM");
  }
  return sealed;
}

Result<SecretBytes> aes_256_gcm_open(SecretArena& arena, std::span<const uint8_t> key,
                                     std::span<const uint8_t> associated_data,
                                     std::span<const uint8_t> sealed) {
  if (auto good = check_sizes(key, sealed, associated_data); !good) return fail(good.error());
  if (sealed.size() < kSealOverhead) {
    return fail(Code::kCorrupt, "the encrypted text is too short");
  }
  const auto nonce = sealed.first(kSealNonceBytes);
  const auto ciphertext = sealed.subspan(kSealNonceBytes, sealed.size() - kSealOverhead);
  std::array<uint8_t, kSealTagBytes> tag{};
  std::copy_n(sealed.end() - kSealTagBytes, kSealTagBytes, tag.begin());

  auto plaintext = arena.allocate(ciphertext.size());
  if (!plaintext) return plaintext;
  uint8_t nothing[1] = {};  // a buffer for OpenSSL if there is no plaintext
  uint8_t* const out = plaintext->empty() ? nothing : plaintext->reveal_mutable().data();

  const CipherContext context(EVP_CIPHER_CTX_new());
  int written = 0;
  if (context == nullptr ||
      EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce.data()) !=
          1 ||
      EVP_DecryptUpdate(context.get(), nullptr, &written, pointer(associated_data),
                        static_cast<int>(associated_data.size())) != 1 ||
      EVP_DecryptUpdate(context.get(), out, &written, pointer(ciphertext),
                        static_cast<int>(ciphertext.size())) != 1 ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kSealTagBytes, tag.data()) != 1) {
    return openssl_failed("decrypt with AES-256-GCM");
  }
  uint8_t final_block[16] = {};  // GCM writes nothing there
  if (EVP_DecryptFinal_ex(context.get(), final_block, &written) != 1) {
    ERR_clear_error();
    return fail(Code::kCorrupt,
                "the encrypted text does not authenticate: it was changed, or belongs to another "
                "key or context");
  }
  return plaintext;
}

Result<KeyCheckValue> key_check_value(std::span<const uint8_t> data_key, std::string_view id,
                                      uint64_t version) {
  constexpr std::string_view kLabel = "keyfs key check v1";
  if (data_key.empty()) return fail(Code::kInvalid, "an empty key has no check value");
  if (id.size() > std::numeric_limits<uint32_t>::max()) {
    return fail(Code::kInvalid, "the id is too long");
  }
  std::vector<uint8_t> message;
  message.reserve(kLabel.size() + id.size() + 20);
  const auto append_number = [&](uint64_t number, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
      message.push_back(static_cast<uint8_t>(number >> shift));
    }
  };
  append_number(kLabel.size(), 4);
  message.insert(message.end(), kLabel.begin(), kLabel.end());
  append_number(id.size(), 4);
  message.insert(message.end(), id.begin(), id.end());
  append_number(8, 4);
  append_number(version, 8);

  const auto mac = hmac_sha256(data_key, message);
  if (!mac) return fail(mac.error());
  KeyCheckValue check{};
  std::copy_n(mac->begin(), check.size(), check.begin());
  return check;
}

}  // namespace keyfs
