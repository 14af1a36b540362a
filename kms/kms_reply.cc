#include "kms/kms_reply.h"

#include <utility>

#include "base/encoding.h"
#include "base/secret_json.h"

namespace keyfs {
namespace {

tl::unexpected<Error> lacks(const char* what) {
  return fail(Code::kCorrupt, std::string("there is no ") + what);
}

}  // namespace

Result<KmsReply> parse_kms_reply(SecretArena& arena, std::string_view text, KmsReplyParts parts) {
  const auto json = SecretJson::parse(text);
  if (!json) return fail(json.error());
  KmsReply reply;
  auto key_id = json->string("KeyId");
  if (!key_id || !*key_id || (*key_id)->empty()) return lacks("KeyId");
  reply.key_id = std::move(**key_id);
  if (parts.blob) {
    const auto encoded = json->string("CiphertextBlob");
    if (!encoded || !*encoded) return lacks("CiphertextBlob");
    auto blob = base64_decode(**encoded);
    if (!blob || blob->empty()) return lacks("CiphertextBlob");
    reply.blob = std::move(*blob);
  }
  if (parts.key) {
    const auto encoded = json->secret(arena, "Plaintext");
    if (!encoded) return fail(encoded.error());
    if (!*encoded) return lacks("Plaintext");
    auto key = base64_decode_secret(arena, (*encoded)->reveal_text());
    if (!key || key->empty()) return lacks("Plaintext");
    reply.key = std::move(*key);
  }
  return reply;
}

Result<std::string> parse_kms_description(std::string_view text) {
  const auto json = SecretJson::parse(text);
  if (!json) return fail(json.error());
  const auto metadata = json->raw("KeyMetadata");
  if (!metadata) return lacks("KeyMetadata");
  const auto inner = SecretJson::parse(*metadata);
  if (!inner) return fail(inner.error());
  auto arn = inner->string("Arn");
  if (!arn || !*arn || (*arn)->empty()) return lacks("Arn");
  return std::move(**arn);
}

}  // namespace keyfs
