// The names of kms/signing/key_types.h in the words of base/asymmetric.h, and the check that every
// custody makes before it signs.
//
// Thread-safety: plain functions. Blocking: never. Errors: kInvalid for what no key signs.
#pragma once

#include <cstddef>

#include "base/asymmetric.h"
#include "base/result.h"
#include "kms/signing/key_types.h"

namespace keyfs {

AsymmetricKind kind_of(SigningKeyType type);
SigningKeyType type_of(AsymmetricKind kind);
SignatureScheme scheme_of(SigningAlgorithm algorithm);
DigestKind hash_of(SigningAlgorithm algorithm);

// kInvalid unless it is one of the 14 combinations, with a digest of its length.
Result<void> check_signing(SigningKeyType type, SigningAlgorithm algorithm, size_t digest_size);

}  // namespace keyfs
