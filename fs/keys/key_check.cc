#include "fs/keys/key_check.h"

#include <cstring>

#include "base/crypto.h"
#include "base/limits.h"

namespace keyfs {

Result<KeyCheck> check_of(const SecretBytes& key, const std::string& id, uint32_t version) {
  return key_check_value(key.reveal(), id, version);
}

Result<void> verify_key(const SecretBytes& key, const std::string& id, uint32_t version,
                        const Version& expected) {
  // Size first: HMAC cannot tell a key from the same key padded with zero bytes.
  // RKMS records have neither a size nor a check value.
  if (!expected.check && expected.bytes == 0) return {};
  if (key.size() != expected.bytes) {
    return fail(Code::kCorrupt, "the key has " + std::to_string(key.size()) +
                                    " bytes, but the record says " +
                                    std::to_string(expected.bytes));
  }
  if (!expected.check) return {};
  const auto check = check_of(key, id, version);
  if (!check) return fail(check.error());
  if (!constant_time_equal(*check, *expected.check)) {
    return fail(Code::kCorrupt, "the check value differs: this is not the key that was created");
  }
  return {};
}

KeyVerifier verifier_of(const Record& record, uint32_t version) {
  const auto found = record.versions.find(version);
  if (found == record.versions.end()) {
    return [](const SecretBytes&) -> Result<void> {
      return fail(Code::kCorrupt, "the record has no such version");
    };
  }
  return [id = record.id, version, expected = found->second](const SecretBytes& key) {
    return verify_key(key, id, version, expected);
  };
}

Result<void> prove_rkms(Record& record, uint32_t version, const SecretBytes& key) {
  if (key.size() < kMinKeyBytes) return {};
  const auto check = check_of(key, record.id, version);
  if (!check) return fail(check.error());
  record.versions.at(version).check = *check;
  return {};
}

Result<uint32_t> wraps_print(const Version& version) {
  std::string all;
  for (const auto& [region, wrap] : version.wrapped) {
    all += region + '\0' + std::to_string(wrap.blob.size()) + '\0' + wrap.blob;
  }
  const auto print = hmac_sha256(bytes_of("keyfs wraps"), bytes_of(all));
  if (!print) return fail(print.error());
  uint32_t first = 0;
  std::memcpy(&first, print->data(), sizeof first);
  return first | 1u;
}

EncryptionContext context_of(const Record& record, uint32_t version) {
  if (record.from_rkms) return {};
  return key_context(record.id, version, record.origin);
}

WrappedKeys wraps_of(const Version& version) {
  WrappedKeys wraps;
  for (const auto& [region, wrap] : version.wrapped) wraps[region] = {wrap.master, wrap.blob};
  return wraps;
}

}  // namespace keyfs
