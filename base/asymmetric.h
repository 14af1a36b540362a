// Asymmetric keys by OpenSSL: RSA and the NIST curves P-256 and P-384, signing of digests.
//
// Thread-safety: plain functions; an AsymmetricKey is immutable and may be used from any thread.
// Ownership: results are the caller's. Private keys are PKCS #8 (RFC 5958) in DER in SecretBytes;
// what OpenSSL allocates while it uses one is freed before the function returns. Blocking: never;
// an RSA_4096 key takes about a second to make, an RSA_4096 signature some milliseconds: not on the loop.
// Errors: kUnavailable if OpenSSL fails, kCorrupt for what does not parse or verify, kInvalid for a
// combination that is none.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

enum class AsymmetricKind : uint8_t { kP256, kP384, kRsa2048, kRsa4096 };
enum class SignatureScheme : uint8_t { kEcdsa, kPkcs1, kPss };  // PSS: salt as long as the digest
enum class DigestKind : uint8_t { kSha256, kSha384, kSha512 };

// A public key, parsed.
class AsymmetricKey {
 public:
  // A SubjectPublicKeyInfo in DER of one of the kinds, and nothing after it.
  static Result<AsymmetricKey> parse(std::span<const uint8_t> der);
  AsymmetricKey(AsymmetricKey&&) noexcept;
  AsymmetricKey& operator=(AsymmetricKey&&) noexcept;
  ~AsymmetricKey();

  AsymmetricKind kind() const { return kind_; }
  // kCorrupt: it is no signature of that digest by this key.
  Result<void> verify(SignatureScheme scheme, DigestKind hash, std::span<const uint8_t> digest,
                      std::span<const uint8_t> signature) const;

 private:
  struct Handle;
  explicit AsymmetricKey(AsymmetricKind kind, std::unique_ptr<Handle> handle);
  AsymmetricKind kind_;
  std::unique_ptr<Handle> handle_;
};

// A new private key.
Result<SecretBytes> generate_private_key(SecretArena& arena, AsymmetricKind kind);
// Its public half: SubjectPublicKeyInfo in DER, raw bytes.
Result<std::string> public_half(std::span<const uint8_t> pkcs8);
// The signature as KMS gives it: DER for ECDSA, otherwise as long as the modulus.
Result<std::string> sign_digest(std::span<const uint8_t> pkcs8, SignatureScheme scheme,
                                DigestKind hash, std::span<const uint8_t> digest);

// A SubjectPublicKeyInfo as text: "-----BEGIN PUBLIC KEY-----", lines of 64.
std::string public_pem(std::string_view der);

}  // namespace keyfs
