// KMS's replies to GenerateDataKey, Encrypt, Decrypt and DescribeKey.
//
// Thread-safety: plain functions. Blocking: never. Errors: kCorrupt for a text that is not such a
// reply; the caller adds whose it was. Keys are only in locked memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

struct KmsReply {
  std::string key_id;         // of the master key that was used, as KMS names it
  std::vector<uint8_t> blob;  // CiphertextBlob
  SecretBytes key;            // Plaintext
};
// To GenerateDataKey, Encrypt or Decrypt. Requested members must be present and not empty; the
// others stay empty.
struct KmsReplyParts {
  bool blob = false;
  bool key = false;
};
Result<KmsReply> parse_kms_reply(SecretArena& arena, std::string_view text, KmsReplyParts parts);

// The Arn in the KeyMetadata of a reply to DescribeKey.
Result<std::string> parse_kms_description(std::string_view text);

}  // namespace keyfs
