#include "kms/signing/public_key.h"

#include <utility>

#include "base/asymmetric.h"
#include "base/crypto.h"
#include "base/encoding.h"
#include "kms/signing/scheme.h"

namespace keyfs {
namespace {

class ParsedPublicKey final : public PublicKey {
 public:
  ParsedPublicKey(AsymmetricKey key, std::string der, std::string fingerprint)
      : PublicKey(type_of(key.kind()), std::move(der), std::move(fingerprint)),
        key_(std::move(key)) {}

  Result<void> verify(SigningAlgorithm algorithm, std::span<const uint8_t> digest,
                      std::span<const uint8_t> signature) const override {
    if (auto good = check_signing(type(), algorithm, digest.size()); !good) return good;
    return key_.verify(scheme_of(algorithm), hash_of(algorithm), digest, signature);
  }

 private:
  const AsymmetricKey key_;
};

}  // namespace

PublicKey::PublicKey(SigningKeyType type, std::string der, std::string fingerprint)
    : type_(type), der_(std::move(der)), fingerprint_(std::move(fingerprint)) {}

std::string PublicKey::pem() const { return public_pem(der_); }

Result<PublicKeyPtr> PublicKey::parse(std::span<const uint8_t> der) {
  auto key = AsymmetricKey::parse(der);
  if (!key) return fail(key.error().within("the public key is not usable"));
  const auto digest = sha256(der);
  if (!digest) return fail(digest.error());
  std::string bytes(der.begin(), der.end());
  return std::make_shared<const ParsedPublicKey>(std::move(*key), std::move(bytes),
                                                 hex_encode(*digest));
}

}  // namespace keyfs
