#include "kms/signing/scheme.h"

#include <string>

namespace keyfs {

AsymmetricKind kind_of(SigningKeyType type) {
  switch (type) {
    case SigningKeyType::kEcP256:
      return AsymmetricKind::kP256;
    case SigningKeyType::kEcP384:
      return AsymmetricKind::kP384;
    case SigningKeyType::kRsa2048:
      return AsymmetricKind::kRsa2048;
    case SigningKeyType::kRsa4096:
      break;
  }
  return AsymmetricKind::kRsa4096;
}

SigningKeyType type_of(AsymmetricKind kind) {
  switch (kind) {
    case AsymmetricKind::kP256:
      return SigningKeyType::kEcP256;
    case AsymmetricKind::kP384:
      return SigningKeyType::kEcP384;
    case AsymmetricKind::kRsa2048:
      return SigningKeyType::kRsa2048;
    case AsymmetricKind::kRsa4096:
      break;
  }
  return SigningKeyType::kRsa4096;
}

SignatureScheme scheme_of(SigningAlgorithm algorithm) {
  switch (algorithm) {
    case SigningAlgorithm::kEcdsaSha256:
    case SigningAlgorithm::kEcdsaSha384:
      return SignatureScheme::kEcdsa;
    case SigningAlgorithm::kRsaPkcs1Sha256:
    case SigningAlgorithm::kRsaPkcs1Sha384:
    case SigningAlgorithm::kRsaPkcs1Sha512:
      return SignatureScheme::kPkcs1;
    case SigningAlgorithm::kRsaPssSha256:
    case SigningAlgorithm::kRsaPssSha384:
    case SigningAlgorithm::kRsaPssSha512:
      break;
  }
  return SignatureScheme::kPss;
}

DigestKind hash_of(SigningAlgorithm algorithm) {
  switch (digest_bytes(algorithm)) {
    case 32:
      return DigestKind::kSha256;
    case 48:
      return DigestKind::kSha384;
    default:
      return DigestKind::kSha512;
  }
}

Result<void> check_signing(SigningKeyType type, SigningAlgorithm algorithm, size_t digest_size) {
  if (!signs_with(type, algorithm)) {
    return fail(Code::kInvalid, "a key of type " + std::string(to_string(type)) +
                                    " does not sign with " + std::string(to_string(algorithm)));
  }
  if (digest_size != digest_bytes(algorithm)) {
    return fail(Code::kInvalid, std::string(to_string(algorithm)) + " signs digests of " +
                                    std::to_string(digest_bytes(algorithm)) + " bytes, not of " +
                                    std::to_string(digest_size));
  }
  return {};
}

}  // namespace keyfs
