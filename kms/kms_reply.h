// What KMS answers to GenerateDataKey, Encrypt, Decrypt and DescribeKey.
//
// Thread-safety: plain functions. Blocking: never. Errors: kCorrupt for a text that is no such
// reply; the caller says whose it was. A key stands in locked memory only.
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
// What is asked for must be there, and not be empty; the rest stays empty.
struct KmsReplyParts {
  bool blob = false;
  bool key = false;
};
Result<KmsReply> parse_kms_reply(SecretArena& arena, std::string_view text, KmsReplyParts parts);

// The Arn in the KeyMetadata of a DescribeKey's reply.
Result<std::string> parse_kms_description(std::string_view text);

}  // namespace keyfs
