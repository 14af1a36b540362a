// Any bytes from KMS are a reply with all that was asked for, or an error that quotes nothing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "kms/kms_reply.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_error(const keyfs::Error& error) {
  require(error.code == keyfs::Code::kCorrupt);
  require(error.message.size() < 100);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static keyfs::SecretArena arena;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool blob : {false, true}) {
    for (const bool key : {false, true}) {
      const auto reply = keyfs::parse_kms_reply(arena, text, {.blob = blob, .key = key});
      if (!reply) {
        check_error(reply.error());
        continue;
      }
      require(!reply->key_id.empty());
      require(reply->blob.empty() != blob && reply->key.empty() != key);
    }
  }
  const auto arn = keyfs::parse_kms_description(text);
  if (!arn) {
    check_error(arn.error());
  } else {
    require(!arn->empty());
  }
  return 0;
}
