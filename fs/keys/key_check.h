// The key check value of a data key, and its comparison after every unwrap.
//
// Thread-safety: pure functions. Blocking: never. Errors: kUnavailable if OpenSSL cannot compute
// it, and those named below.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/secret.h"
#include "kms/regions.h"
#include "store/record.h"

namespace keyfs {

// HMAC-SHA256 under the data key over a label, the id and the version, truncated to 16 bytes.
Result<KeyCheck> check_of(const SecretBytes& key, const std::string& id, uint32_t version);

// Compares a plaintext with the size and check value in the version's record; kCorrupt if either
// differs.
Result<void> verify_key(const SecretBytes& key, const std::string& id, uint32_t version,
                        const Version& expected);

// The same as a function of the plaintext alone, for Regions::unwrap(). Records that RKMS wrote
// have neither size nor check value: nothing is compared.
KeyVerifier verifier_of(const Record& record, uint32_t version);

// Gives a record that RKMS wrote the check value of the key that it was found to hold, for the
// comparison with what it gives next time; not to one of a short key, which that would give away.
Result<void> prove_rkms(Record& record, uint32_t version, const SecretBytes& key);

// Tells whether the wraps of a version without a check value are still the same; never 0.
Result<uint32_t> wraps_print(const Version& version);

// What the wraps of a record's version are bound to: its id, the version and the record's origin,
// if it has one; nothing for a record that RKMS wrote.
EncryptionContext context_of(const Record& record, uint32_t version);

// The wraps of a version in the form that Regions takes.
WrappedKeys wraps_of(const Version& version);

}  // namespace keyfs
