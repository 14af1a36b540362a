#include "kms/signing/key_types.h"

#include <algorithm>

namespace keyfs {
namespace {

struct NameOfAlgorithm {
  SigningAlgorithm algorithm;
  std::string_view name;
  size_t digest;
};

constexpr NameOfAlgorithm kNamesOfAlgorithms[] = {
    {SigningAlgorithm::kEcdsaSha256, "ECDSA_SHA_256", 32},
    {SigningAlgorithm::kEcdsaSha384, "ECDSA_SHA_384", 48},
    {SigningAlgorithm::kRsaPkcs1Sha256, "RSASSA_PKCS1_V1_5_SHA_256", 32},
    {SigningAlgorithm::kRsaPkcs1Sha384, "RSASSA_PKCS1_V1_5_SHA_384", 48},
    {SigningAlgorithm::kRsaPkcs1Sha512, "RSASSA_PKCS1_V1_5_SHA_512", 64},
    {SigningAlgorithm::kRsaPssSha256, "RSASSA_PSS_SHA_256", 32},
    {SigningAlgorithm::kRsaPssSha384, "RSASSA_PSS_SHA_384", 48},
    {SigningAlgorithm::kRsaPssSha512, "RSASSA_PSS_SHA_512", 64},
};

constexpr std::string_view kNamesOfTypes[] = {"EC_P256", "EC_P384", "RSA_2048", "RSA_4096"};

const NameOfAlgorithm& named(SigningAlgorithm algorithm) {
  return kNamesOfAlgorithms[static_cast<size_t>(algorithm)];
}

}  // namespace

std::string_view to_string(SigningKeyType type) { return kNamesOfTypes[static_cast<size_t>(type)]; }

std::string_view to_string(SigningAlgorithm algorithm) { return named(algorithm).name; }

std::optional<SigningKeyType> parse_signing_key_type(std::string_view text) {
  for (const SigningKeyType type : kSigningKeyTypes) {
    if (to_string(type) == text) return type;
  }
  return std::nullopt;
}

std::optional<SigningAlgorithm> parse_signing_algorithm(std::string_view text) {
  for (const SigningAlgorithm algorithm : kSigningAlgorithms) {
    if (to_string(algorithm) == text) return algorithm;
  }
  return std::nullopt;
}

std::span<const SigningAlgorithm> algorithms_of(SigningKeyType type) {
  const std::span<const SigningAlgorithm> all(kSigningAlgorithms);
  switch (type) {
    case SigningKeyType::kEcP256:
      return all.subspan(0, 1);
    case SigningKeyType::kEcP384:
      return all.subspan(1, 1);
    case SigningKeyType::kRsa2048:
    case SigningKeyType::kRsa4096:
      return all.subspan(2);
  }
  return {};
}

bool signs_with(SigningKeyType type, SigningAlgorithm algorithm) {
  const auto able = algorithms_of(type);
  return std::find(able.begin(), able.end(), algorithm) != able.end();
}

size_t digest_bytes(SigningAlgorithm algorithm) { return named(algorithm).digest; }

}  // namespace keyfs
