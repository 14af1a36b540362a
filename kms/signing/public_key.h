// The public half of a signing key, as it is cached, shown, and used to verify every signature
// before it is handed out.
//
// Thread-safety: immutable; verify() from any thread. Ownership: shared. Blocking: never.
// Errors: kCorrupt for what is no public key, or no signature by it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kms/signing/key_types.h"

namespace keyfs {

class PublicKey;
using PublicKeyPtr = std::shared_ptr<const PublicKey>;

class PublicKey {
 public:
  // A SubjectPublicKeyInfo in DER (RFC 5280, section 4.1), of one of the four types, with nothing
  // after it.
  static Result<PublicKeyPtr> parse(std::span<const uint8_t> der);

  virtual ~PublicKey() = default;
  PublicKey(const PublicKey&) = delete;
  PublicKey& operator=(const PublicKey&) = delete;

  SigningKeyType type() const { return type_; }
  const std::string& der() const { return der_; }                  // raw bytes
  const std::string& fingerprint() const { return fingerprint_; }  // hex SHA-256 of der()
  std::string pem() const;                                         // with its final newline

  // Whether this is its signature of the digest. kInvalid for an algorithm of another type, or a
  // digest of another length.
  virtual Result<void> verify(SigningAlgorithm algorithm, std::span<const uint8_t> digest,
                              std::span<const uint8_t> signature) const = 0;

 protected:
  PublicKey(SigningKeyType type, std::string der, std::string fingerprint);

 private:
  const SigningKeyType type_;
  const std::string der_;
  const std::string fingerprint_;
};

}  // namespace keyfs
