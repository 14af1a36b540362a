#include "base/asymmetric.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "base/encoding.h"

namespace keyfs {
namespace {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using OpenKey = std::unique_ptr<EVP_PKEY, FreeKey>;
struct FreeKeyContext {
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, FreeKeyContext>;
struct FreePkcs8 {
  void operator()(PKCS8_PRIV_KEY_INFO* info) const { PKCS8_PRIV_KEY_INFO_free(info); }
};
using OpenPkcs8 = std::unique_ptr<PKCS8_PRIV_KEY_INFO, FreePkcs8>;
struct FreeNumber {
  void operator()(BIGNUM* number) const { BN_free(number); }
};

tl::unexpected<Error> asymmetric_failed(const char* what) {
  char reason[160] = "no reason given";
  if (const unsigned long error = ERR_peek_last_error(); error != 0) {
    ERR_error_string_n(error, reason, sizeof reason);
  }
  ERR_clear_error();
  return fail(Code::kUnavailable, std::string("OpenSSL could not ") + what + ": " + reason);
}

tl::unexpected<Error> no_such_key(const char* what) {
  ERR_clear_error();
  return fail(Code::kCorrupt, what);
}

// How a SubjectPublicKeyInfo of a named curve with an uncompressed point begins; the point follows.
constexpr std::array<uint8_t, 27> kHeadOfP256 = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
constexpr std::array<uint8_t, 24> kHeadOfP384 = {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                                                 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
                                                 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04};

template <size_t N>
bool is_point_after(std::span<const uint8_t> der, const std::array<uint8_t, N>& head,
                    size_t coordinate) {
  return der.size() == N + 2 * coordinate && std::equal(head.begin(), head.end(), der.begin());
}

std::optional<AsymmetricKind> rsa_kind(EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "RSA") != 1) return std::nullopt;
  BIGNUM* found = nullptr;
  if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &found) != 1) return std::nullopt;
  const std::unique_ptr<BIGNUM, FreeNumber> exponent(found);
  if (BN_is_odd(found) != 1 || BN_num_bits(found) < 17) return std::nullopt;  // below 65537
  const int bits = EVP_PKEY_get_bits(key);
  if (bits == 2048) return AsymmetricKind::kRsa2048;
  if (bits == 4096) return AsymmetricKind::kRsa4096;
  return std::nullopt;
}

std::optional<AsymmetricKind> kind_of_private(EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "EC") != 1) return rsa_kind(key);
  char group[32] = {};
  if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                     nullptr) != 1) {
    return std::nullopt;
  }
  const std::string_view name(group);
  if (name == "prime256v1" || name == "P-256") return AsymmetricKind::kP256;
  if (name == "secp384r1" || name == "P-384") return AsymmetricKind::kP384;
  return std::nullopt;
}

const EVP_MD* md_of(DigestKind hash) {
  switch (hash) {
    case DigestKind::kSha256:
      return EVP_sha256();
    case DigestKind::kSha384:
      return EVP_sha384();
    case DigestKind::kSha512:
      return EVP_sha512();
  }
  return nullptr;
}

Result<void> check_combination(AsymmetricKind kind, SignatureScheme scheme, DigestKind hash,
                               std::span<const uint8_t> digest) {
  const bool ec = kind == AsymmetricKind::kP256 || kind == AsymmetricKind::kP384;
  if (ec != (scheme == SignatureScheme::kEcdsa)) {
    return fail(Code::kInvalid, "keys of this type have no signatures of this kind");
  }
  if (ec && (kind == AsymmetricKind::kP256) != (hash == DigestKind::kSha256)) {
    return fail(Code::kInvalid, "keys on this curve do not sign digests of this kind");
  }
  if (ec && hash == DigestKind::kSha512) {
    return fail(Code::kInvalid, "keys on this curve do not sign digests of this kind");
  }
  const auto wanted = static_cast<size_t>(EVP_MD_get_size(md_of(hash)));
  if (digest.size() != wanted) {
    return fail(Code::kInvalid, "the digest has " + std::to_string(digest.size()) +
                                    " bytes instead of " + std::to_string(wanted));
  }
  return {};
}

// Padding, hash and salt; the same for signing and verifying.
bool set_scheme(EVP_PKEY_CTX* context, SignatureScheme scheme, DigestKind hash) {
  const EVP_MD* md = md_of(hash);
  if (scheme == SignatureScheme::kPkcs1 &&
      EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) != 1) {
    return false;
  }
  if (scheme == SignatureScheme::kPss &&
      EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) != 1) {
    return false;
  }
  if (EVP_PKEY_CTX_set_signature_md(context, md) != 1) return false;
  return scheme != SignatureScheme::kPss ||
         (EVP_PKEY_CTX_set_rsa_mgf1_md(context, md) == 1 &&
          EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
}

Result<OpenKey> open_private(std::span<const uint8_t> pkcs8) {
  const uint8_t* at = pkcs8.data();
  const OpenPkcs8 info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, static_cast<long>(pkcs8.size())));  // NOLINT
  if (info == nullptr || at != pkcs8.data() + pkcs8.size()) {
    return no_such_key("the private key is no PKCS #8");
  }
  OpenKey key(EVP_PKCS82PKEY(info.get()));
  if (key == nullptr) return no_such_key("the private key in the PKCS #8 does not parse");
  return key;
}

Result<std::string> public_der(EVP_PKEY* key) {
  uint8_t* out = nullptr;
  const int size = i2d_PUBKEY(key, &out);
  if (size <= 0) return asymmetric_failed("encode a public key");
  std::string der(reinterpret_cast<const char*>(out), static_cast<size_t>(size));
  OPENSSL_free(out);
  return der;
}

}  // namespace

struct AsymmetricKey::Handle {
  OpenKey key;
};

AsymmetricKey::AsymmetricKey(AsymmetricKind kind, std::unique_ptr<Handle> handle)
    : kind_(kind), handle_(std::move(handle)) {}
AsymmetricKey::AsymmetricKey(AsymmetricKey&&) noexcept = default;
AsymmetricKey& AsymmetricKey::operator=(AsymmetricKey&&) noexcept = default;
AsymmetricKey::~AsymmetricKey() = default;

Result<AsymmetricKey> AsymmetricKey::parse(std::span<const uint8_t> der) {
  constexpr size_t kMost = 1024;  // an RSA_4096 key has 550
  if (der.empty() || der.size() > kMost) return no_such_key("it is no public key");
  const uint8_t* at = der.data();
  auto handle = std::make_unique<Handle>();
  handle->key.reset(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())));  // NOLINT
  if (handle->key == nullptr || at != der.data() + der.size()) {
    return no_such_key("it is no SubjectPublicKeyInfo in DER");
  }
  std::optional<AsymmetricKind> kind;
  if (is_point_after(der, kHeadOfP256, 32)) {
    kind = AsymmetricKind::kP256;
  } else if (is_point_after(der, kHeadOfP384, 48)) {
    kind = AsymmetricKind::kP384;
  } else {
    kind = rsa_kind(handle->key.get());
  }
  if (!kind) {
    return no_such_key(
        "it is none of: P-256, P-384, RSA of 2048 or 4096 bits with an exponent from 65537");
  }
  // BER has many forms of one key, and its fingerprint must have one.
  auto again = public_der(handle->key.get());
  if (!again) return fail(std::move(again.error()));
  if (!std::equal(der.begin(), der.end(), again->begin(), again->end(),
                  [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); })) {
    return no_such_key("it is not in DER");
  }
  ERR_clear_error();
  return AsymmetricKey(*kind, std::move(handle));
}

Result<void> AsymmetricKey::verify(SignatureScheme scheme, DigestKind hash,
                                   std::span<const uint8_t> digest,
                                   std::span<const uint8_t> signature) const {
  if (auto good = check_combination(kind_, scheme, hash, digest); !good) return good;
  EVP_PKEY* key = handle_->key.get();
  if (signature.empty() || (scheme != SignatureScheme::kEcdsa &&
                            signature.size() != static_cast<size_t>(EVP_PKEY_get_size(key)))) {
    return fail(Code::kCorrupt, "it has not the length of a signature by this key");
  }
  const KeyContext context(EVP_PKEY_CTX_new(key, nullptr));
  if (context == nullptr || EVP_PKEY_verify_init(context.get()) != 1 ||
      !set_scheme(context.get(), scheme, hash)) {
    return asymmetric_failed("verify a signature");
  }
  if (EVP_PKEY_verify(context.get(), signature.data(), signature.size(), digest.data(),
                      digest.size()) != 1) {
    return no_such_key("it is no signature of this digest by this key");
  }
  return {};
}

Result<SecretBytes> generate_private_key(SecretArena& arena, AsymmetricKind kind) {
  const bool ec = kind == AsymmetricKind::kP256 || kind == AsymmetricKind::kP384;
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, ec ? "EC" : "RSA", nullptr));
  if (context == nullptr || EVP_PKEY_keygen_init(context.get()) != 1) {
    return asymmetric_failed("make a private key");
  }
  const int chosen = ec ? EVP_PKEY_CTX_set_group_name(
                              context.get(), kind == AsymmetricKind::kP256 ? "P-256" : "P-384")
                        : EVP_PKEY_CTX_set_rsa_keygen_bits(
                              context.get(), kind == AsymmetricKind::kRsa2048 ? 2048 : 4096);
  EVP_PKEY* made = nullptr;
  if (chosen != 1 || EVP_PKEY_generate(context.get(), &made) != 1) {
    return asymmetric_failed("make a private key");
  }
  const OpenKey key(made);
  const OpenPkcs8 info(EVP_PKEY2PKCS8(key.get()));
  const int size = info == nullptr ? 0 : i2d_PKCS8_PRIV_KEY_INFO(info.get(), nullptr);
  if (size <= 0) return asymmetric_failed("encode a private key");
  auto bytes = arena.allocate(static_cast<size_t>(size));
  if (!bytes) return bytes;
  uint8_t* out = bytes->reveal_mutable().data();
  if (i2d_PKCS8_PRIV_KEY_INFO(info.get(), &out) != size) {
    return asymmetric_failed("encode a private key");
  }
  return bytes;
}

Result<std::string> public_half(std::span<const uint8_t> pkcs8) {
  auto key = open_private(pkcs8);
  if (!key) return fail(std::move(key.error()));
  if (!kind_of_private(key->get())) return no_such_key("the private key is of no known type");
  return public_der(key->get());
}

Result<std::string> sign_digest(std::span<const uint8_t> pkcs8, SignatureScheme scheme,
                                DigestKind hash, std::span<const uint8_t> digest) {
  auto key = open_private(pkcs8);
  if (!key) return fail(std::move(key.error()));
  const auto kind = kind_of_private(key->get());
  if (!kind) return no_such_key("the private key is of no known type");
  if (auto good = check_combination(*kind, scheme, hash, digest); !good) {
    return fail(std::move(good.error()));
  }
  const KeyContext context(EVP_PKEY_CTX_new(key->get(), nullptr));
  size_t size = static_cast<size_t>(EVP_PKEY_get_size(key->get()));
  std::string signature(size, '\0');
  if (context == nullptr || EVP_PKEY_sign_init(context.get()) != 1 ||
      !set_scheme(context.get(), scheme, hash) ||
      EVP_PKEY_sign(context.get(), reinterpret_cast<uint8_t*>(signature.data()), &size,
                    digest.data(), digest.size()) != 1) {
    return asymmetric_failed("sign");
  }
  signature.resize(size);
  return signature;
}

std::string public_pem(std::string_view der) {
  constexpr size_t kLine = 64;
  const std::string text = base64_encode(der);
  std::string pem = "-----BEGIN PUBLIC KEY-----\n";
  for (size_t at = 0; at < text.size(); at += kLine) pem += text.substr(at, kLine) + "\n";
  return pem + "-----END PUBLIC KEY-----\n";
}

}  // namespace keyfs
