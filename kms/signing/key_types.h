// The kinds of signing keys and the algorithms that they sign with: 14 combinations, and no others.
//
//   EC_P256            ECDSA_SHA_256
//   EC_P384            ECDSA_SHA_384
//   RSA_2048, RSA_4096 RSASSA_PKCS1_V1_5_SHA_256, _384, _512 and RSASSA_PSS_SHA_256, _384, _512
//
// Names of algorithms are those of AWS KMS:
//   https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
//
// Thread-safety: plain functions and values. Blocking: never. Errors: none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace keyfs {

enum class SigningKeyType : uint8_t { kEcP256, kEcP384, kRsa2048, kRsa4096 };

enum class SigningAlgorithm : uint8_t {
  kEcdsaSha256,
  kEcdsaSha384,
  kRsaPkcs1Sha256,
  kRsaPkcs1Sha384,
  kRsaPkcs1Sha512,
  kRsaPssSha256,
  kRsaPssSha384,
  kRsaPssSha512,
};

inline constexpr std::array kSigningKeyTypes = {SigningKeyType::kEcP256, SigningKeyType::kEcP384,
                                                SigningKeyType::kRsa2048, SigningKeyType::kRsa4096};
inline constexpr std::array kSigningAlgorithms = {
    SigningAlgorithm::kEcdsaSha256,    SigningAlgorithm::kEcdsaSha384,
    SigningAlgorithm::kRsaPkcs1Sha256, SigningAlgorithm::kRsaPkcs1Sha384,
    SigningAlgorithm::kRsaPkcs1Sha512, SigningAlgorithm::kRsaPssSha256,
    SigningAlgorithm::kRsaPssSha384,   SigningAlgorithm::kRsaPssSha512};

std::string_view to_string(SigningKeyType type);         // "EC_P256"
std::string_view to_string(SigningAlgorithm algorithm);  // "ECDSA_SHA_256"
// nullopt for any other text.
std::optional<SigningKeyType> parse_signing_key_type(std::string_view text);
std::optional<SigningAlgorithm> parse_signing_algorithm(std::string_view text);

// What a key of that type signs with, in the order above.
std::span<const SigningAlgorithm> algorithms_of(SigningKeyType type);
bool signs_with(SigningKeyType type, SigningAlgorithm algorithm);

// The digest that an algorithm signs: 32, 48 or 64 bytes.
size_t digest_bytes(SigningAlgorithm algorithm);

}  // namespace keyfs
