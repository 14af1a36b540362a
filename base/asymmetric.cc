// OpenSSL 3's way from PKCS #8 to a key takes a millisecond, 40 times as long as an ECDSA signature.
// Since a private key is opened for each signature, that is done by the functions of before 3.0.
#define OPENSSL_SUPPRESS_DEPRECATED
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
struct FreeEc {
  void operator()(EC_KEY* key) const { EC_KEY_free(key); }
};
struct FreeRsa {
  void operator()(RSA* key) const { RSA_free(key); }
};
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

// Padding, hash and salt.
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

Result<OpenPkcs8> open_pkcs8(std::span<const uint8_t> pkcs8) {
  const uint8_t* at = pkcs8.data();
  OpenPkcs8 info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, static_cast<long>(pkcs8.size())));  // NOLINT
  if (info == nullptr || at != pkcs8.data() + pkcs8.size()) {
    return no_such_key("the private key is no PKCS #8");
  }
  return info;
}

// A private key for one signature.
struct PrivateKey {
  AsymmetricKind kind = AsymmetricKind::kP256;
  std::unique_ptr<EC_KEY, FreeEc> ec;  // one of the two
  std::unique_ptr<RSA, FreeRsa> rsa;
};

// Setting up a curve takes half as long as a signature. Never freed: threads may still be signing.
const EC_GROUP* group_of(AsymmetricKind kind) {
  static const EC_GROUP* const p256 = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
  static const EC_GROUP* const p384 = EC_GROUP_new_by_curve_name(NID_secp384r1);
  return kind == AsymmetricKind::kP256 ? p256 : p384;
}

std::unique_ptr<EC_KEY, FreeEc> open_ec(AsymmetricKind kind, const uint8_t* at, int size) {
  const EC_GROUP* group = group_of(kind);
  std::unique_ptr<EC_KEY, FreeEc> key(EC_KEY_new());
  if (group == nullptr || key == nullptr || EC_KEY_set_group(key.get(), group) != 1) return nullptr;
  const uint8_t* const end = at + size;
  EC_KEY* filled = key.get();
  if (d2i_ECPrivateKey(&filled, &at, size) == nullptr || at != end) return nullptr;
  // Parameters inside of it may have brought another curve.
  const int curve = EC_GROUP_get_curve_name(EC_KEY_get0_group(filled));
  return curve == EC_GROUP_get_curve_name(group) ? std::move(key) : nullptr;
}

Result<PrivateKey> open_private(std::span<const uint8_t> pkcs8) {
  auto info = open_pkcs8(pkcs8);
  if (!info) return fail(std::move(info.error()));
  const uint8_t* at = nullptr;
  int size = 0;
  const X509_ALGOR* algorithm = nullptr;
  if (PKCS8_pkey_get0(nullptr, &at, &size, &algorithm, info->get()) != 1) {
    return no_such_key("the private key in the PKCS #8 does not parse");
  }
  const ASN1_OBJECT* name = nullptr;
  const void* parameter = nullptr;
  int parameter_type = 0;
  X509_ALGOR_get0(&name, &parameter_type, &parameter, algorithm);
  PrivateKey key;
  if (OBJ_obj2nid(name) == NID_X9_62_id_ecPublicKey && parameter_type == V_ASN1_OBJECT) {
    const int curve = OBJ_obj2nid(static_cast<const ASN1_OBJECT*>(parameter));
    if (curve != NID_X9_62_prime256v1 && curve != NID_secp384r1) {
      return no_such_key("the private key is on another curve than P-256 and P-384");
    }
    key.kind = curve == NID_X9_62_prime256v1 ? AsymmetricKind::kP256 : AsymmetricKind::kP384;
    key.ec = open_ec(key.kind, at, size);
    if (key.ec == nullptr) return no_such_key("the EC private key does not parse");
    return key;
  }
  const uint8_t* const end = at + size;
  if (OBJ_obj2nid(name) == NID_rsaEncryption) key.rsa.reset(d2i_RSAPrivateKey(nullptr, &at, size));
  if (key.rsa == nullptr || at != end) return no_such_key("the RSA private key does not parse");
  const int bits = RSA_bits(key.rsa.get());
  if (bits != 2048 && bits != 4096) return no_such_key("the RSA private key has an unusual size");
  key.kind = bits == 2048 ? AsymmetricKind::kRsa2048 : AsymmetricKind::kRsa4096;
  return key;
}

bool sign_ec(EC_KEY* key, std::span<const uint8_t> digest, std::string& signature) {
  signature.resize(static_cast<size_t>(ECDSA_size(key)));
  unsigned size = 0;
  if (ECDSA_sign(0, digest.data(), static_cast<int>(digest.size()),
                 reinterpret_cast<uint8_t*>(signature.data()), &size, key) != 1) {
    return false;
  }
  signature.resize(size);
  return true;
}

bool sign_rsa(RSA* key, SignatureScheme scheme, DigestKind hash, std::span<const uint8_t> digest,
              std::string& signature) {
  const EVP_MD* md = md_of(hash);
  signature.resize(static_cast<size_t>(RSA_size(key)));
  auto* const out = reinterpret_cast<uint8_t*>(signature.data());
  if (scheme == SignatureScheme::kPkcs1) {
    unsigned size = 0;
    return RSA_sign(EVP_MD_get_type(md), digest.data(), static_cast<unsigned>(digest.size()), out,
                    &size, key) == 1 &&
           size == signature.size();
  }
  std::string padded(signature.size(), '\0');
  auto* const block = reinterpret_cast<uint8_t*>(padded.data());
  return RSA_padding_add_PKCS1_PSS_mgf1(key, block, digest.data(), md, md,
                                        RSA_PSS_SALTLEN_DIGEST) == 1 &&
         RSA_private_encrypt(static_cast<int>(padded.size()), block, out, key, RSA_NO_PADDING) ==
             static_cast<int>(signature.size());
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
  if (auto known = open_private(pkcs8); !known) return fail(std::move(known.error()));
  auto info = open_pkcs8(pkcs8);
  if (!info) return fail(std::move(info.error()));
  const OpenKey key(EVP_PKCS82PKEY(info->get()));
  if (key == nullptr) return no_such_key("the private key in the PKCS #8 does not parse");
  return public_der(key.get());
}

Result<std::string> sign_digest(std::span<const uint8_t> pkcs8, SignatureScheme scheme,
                                DigestKind hash, std::span<const uint8_t> digest) {
  auto key = open_private(pkcs8);
  if (!key) return fail(std::move(key.error()));
  if (auto good = check_combination(key->kind, scheme, hash, digest); !good) {
    return fail(std::move(good.error()));
  }
  std::string signature;
  const bool done = key->ec != nullptr ? sign_ec(key->ec.get(), digest, signature)
                                       : sign_rsa(key->rsa.get(), scheme, hash, digest, signature);
  if (!done) return asymmetric_failed("sign");
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
