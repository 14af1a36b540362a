#include "fs/mount/sign_paths.h"

#include <algorithm>

#include "base/encoding.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

constexpr size_t kFingerprintDigits = 64;
// More than a public file of an RSA key of 4096 bits takes, or all names of algorithms.
constexpr uint32_t kMostPublic = 1024;

// Raw bytes of so many hex digits.
std::optional<std::string> raw_of(std::string_view hex, size_t digits) {
  if (hex.size() != digits) return std::nullopt;
  const auto bytes = hex_decode(hex);
  if (!bytes) return std::nullopt;
  return std::string(bytes->begin(), bytes->end());
}

std::optional<SignPlace> in_key(SignPlace place, std::string_view name) {
  if (name == kAtName) {
    place.view = SignView::kAt;
    return place;
  }
  const auto* file = std::find(kPublicFiles.begin(), kPublicFiles.end(), name);
  if (file != kPublicFiles.end()) {
    place.view = SignView::kPublic;
    place.file = static_cast<PublicFile>(file - kPublicFiles.begin());
    return place;
  }
  const auto algorithm = parse_signing_algorithm(name);
  if (!algorithm) return std::nullopt;
  place.view = SignView::kAlgorithm;
  place.algorithm = *algorithm;
  return place;
}

}  // namespace

std::optional<SignPlace> sign_place(const SignPlace* directory, std::string_view name) {
  if (directory == nullptr) {
    if (!is_key_id(name)) return std::nullopt;
    SignPlace place;
    place.id = name;
    return place;
  }
  SignPlace place = *directory;
  switch (directory->view) {
    case SignView::kKey:
      return in_key(std::move(place), name);
    case SignView::kAt: {
      const auto raw = raw_of(name, kFingerprintDigits);
      if (!raw) return std::nullopt;
      place.view = SignView::kPinned;
      place.pinned = name;
      std::transform(place.pinned.begin(), place.pinned.end(), place.pinned.begin(),
                     [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
      return place;
    }
    case SignView::kPinned: {
      const auto algorithm = parse_signing_algorithm(name);
      if (!algorithm) return std::nullopt;
      place.view = SignView::kAlgorithm;
      place.algorithm = *algorithm;
      return place;
    }
    case SignView::kAlgorithm: {
      auto raw = raw_of(name, 2 * digest_bytes(place.algorithm));
      if (!raw) return std::nullopt;
      place.view = SignView::kSignature;
      place.digest = std::move(*raw);
      return place;
    }
    case SignView::kPublic:
    case SignView::kSignature:
      break;
  }
  return std::nullopt;
}

std::string public_text(PublicFile file, const SigningKey& key, const SignSection& section) {
  const PublicKey& known = *key.public_key;
  switch (file) {
    case PublicFile::kPem:
      return known.pem();
    case PublicFile::kDer:
      return known.der();
    case PublicFile::kType:
      return std::string(to_string(known.type())) + "\n";
    case PublicFile::kFingerprint:
      return known.fingerprint() + "\n";
    case PublicFile::kAlgorithms:
      break;
  }
  std::string names;
  for (const SigningAlgorithm algorithm : algorithms_of(known.type())) {
    if (section.permits(algorithm)) (names += to_string(algorithm)) += '\n';
  }
  return names;
}

uint32_t shown_bytes(const SignPlace& place, const SigningKey* key, const SignSection& section) {
  const PublicKey* known = key != nullptr ? key->public_key.get() : nullptr;
  if (place.view == SignView::kPublic) {
    if (known == nullptr) return kMostPublic;
    return static_cast<uint32_t>(public_text(place.file, *key, section).size());
  }
  switch (place.algorithm) {
    // DER (RFC 3279, 2.2.3): a SEQUENCE of two INTEGERs with a zero byte before each.
    case SigningAlgorithm::kEcdsaSha256:
      return 2 + 2 * (2 + 1 + 32);
    case SigningAlgorithm::kEcdsaSha384:
      return 2 + 2 * (2 + 1 + 48);
    default:
      break;
  }
  return known != nullptr && known->type() == SigningKeyType::kRsa2048 ? 256 : 512;
}

}  // namespace keyfs
