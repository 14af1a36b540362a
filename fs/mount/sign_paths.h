// What is found below .keyfs/sign: names and what they mean. A name says all: which key, which
// algorithm, which digest.
//
//   ca                                 SignView::kKey        a directory
//   ca/pub.pem  ca/type ...            SignView::kPublic     files about the key
//   ca/ECDSA_SHA_256                   SignView::kAlgorithm  a directory that lists nothing
//   ca/ECDSA_SHA_256/<hex>             SignView::kSignature  opening it signs
//   ca/at                              SignView::kAt         a directory that lists nothing
//   ca/at/<fingerprint>                SignView::kPinned     a directory of algorithms
//   ca/at/<fingerprint>/ECDSA_SHA_256/<hex>   as above, by that key and no other
//
// Thread-safety: plain functions and values. Blocking: never. Errors: none; nullopt for a name that
// means nothing.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "fs/policy/sign_policy.h"
#include "fs/sign/signing_keys.h"
#include "kms/signing/key_types.h"

namespace keyfs {

constexpr uint64_t kSignNode = 35;  // .keyfs/sign; views.h has the others
inline constexpr std::string_view kSignName = "sign";
inline constexpr std::string_view kAtName = "at";

enum class SignView : uint8_t { kKey, kPublic, kAlgorithm, kSignature, kAt, kPinned };
constexpr bool is_sign_file(SignView view) {
  return view == SignView::kPublic || view == SignView::kSignature;
}

enum class PublicFile : uint8_t { kPem, kDer, kType, kFingerprint, kAlgorithms };
inline constexpr std::array<std::string_view, 5> kPublicFiles = {"pub.pem", "pub.der", "type",
                                                                 "fingerprint", "algorithms"};

struct SignPlace {
  SignView view = SignView::kKey;
  std::string id;
  PublicFile file = PublicFile::kPem;  // of kPublic
  // Of kAlgorithm and kSignature.
  SigningAlgorithm algorithm = SigningAlgorithm::kEcdsaSha256;
  std::string pinned;  // the fingerprint, in lower case; empty: the current key
  std::string digest;  // of kSignature: raw bytes
};

// What `name` is in the directory; null: in .keyfs/sign.
std::optional<SignPlace> sign_place(const SignPlace* directory, std::string_view name);

// The contents of a public file, with a final newline unless it is DER. `key.public_key` is known.
std::string public_text(PublicFile file, const SigningKey& key, const SignSection& section);

// How large a file is, or may be at most as long as that is not known: the kernel must never be told
// less, since programs that copy within it (sendfile) stop there. An ECDSA signature's length
// differs from one to the next. `key` may be null.
uint32_t shown_bytes(const SignPlace& place, const SigningKey* key, const SignSection& section);

}  // namespace keyfs
