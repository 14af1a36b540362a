#include "fs/keys/key_check.h"

#include "base/crypto.h"

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
