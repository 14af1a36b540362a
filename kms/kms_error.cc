#include "kms/kms_error.h"

#include <algorithm>
#include <string_view>

namespace keyfs {
namespace {

struct Meaning {
  std::string_view error;
  Code code;
  std::string_view what;  // follows "the master key K "; empty: only the error's name
};

constexpr Meaning kMeanings[] = {
    {"KMSInternalException", Code::kUnavailable, ""},
    {"KeyUnavailableException", Code::kUnavailable, "is temporarily unavailable"},
    {"DependencyTimeoutException", Code::kUnavailable, ""},
    {"InternalFailure", Code::kUnavailable, ""},
    {"InternalServiceError", Code::kUnavailable, ""},
    {"ServiceUnavailable", Code::kUnavailable, ""},
    {"ServiceUnavailableException", Code::kUnavailable, ""},
    {"RequestTimeoutException", Code::kUnavailable, ""},
    {"ThrottlingException", Code::kThrottled, ""},
    {"Throttling", Code::kThrottled, ""},
    {"LimitExceededException", Code::kThrottled, ""},
    {"RequestLimitExceeded", Code::kThrottled, ""},
    {"TooManyRequestsException", Code::kThrottled, ""},
    {"DisabledException", Code::kDenied, "is disabled: enable it, or remove the region"},
    {"KMSInvalidStateException", Code::kDenied,
     "is pending deletion or its key store is disconnected: cancel the deletion, or connect it"},
    {"NotFoundException", Code::kDenied, "does not exist there: check `key`"},
    {"InvalidKeyUsageException", Code::kDenied,
     "is not a symmetric key for encryption and decryption"},
    {"InvalidGrantTokenException", Code::kDenied, "is not permitted by this grant"},
    {"OptInRequired", Code::kDenied, "is in a region that is not enabled for the account"},
    {"InvalidCiphertextException", Code::kCorrupt,
     "did not make this wrap, or the wrap or its context was changed"},
    {"IncorrectKeyException", Code::kCorrupt, "did not make this wrap: another key did"},
    {"ValidationException", Code::kInvalid, ""},
    {"InvalidArnException", Code::kInvalid, "has a malformed ARN"},
    {"SerializationException", Code::kInvalid, ""},
    {"UnknownOperationException", Code::kInvalid, ""},
};

const Meaning* meaning_of(const std::string& error) {
  const auto* found = std::find_if(std::begin(kMeanings), std::end(kMeanings),
                                   [&](const Meaning& one) { return one.error == error; });
  return found == std::end(kMeanings) ? nullptr : found;
}

}  // namespace

Code kms_error_code(const AwsReply& reply) {
  if (reply.error == "AccessDeniedException") return Code::kDenied;
  if (const Meaning* meaning = meaning_of(reply.error)) return meaning->code;
  return reply.http.status == 429 ? Code::kThrottled : Code::kUnavailable;
}

Error kms_error(const AwsReply& reply, const std::string& operation, const std::string& key,
                const std::string& region) {
  const Code code = kms_error_code(reply);
  if (reply.error == "AccessDeniedException") {
    return Error(code, "kms:" + operation + " with the master key " + key + " in " + region +
                           " is not permitted (AccessDeniedException): the key's policy and the "
                           "caller's IAM policy must allow it");
  }
  const Meaning* meaning = meaning_of(reply.error);
  if (meaning == nullptr || meaning->what.empty()) {
    return Error(code, "KMS in " + region + " answers " + operation + " with " + reply.reason());
  }
  return Error(code, "the master key " + key + " in " + region + " " + std::string(meaning->what) +
                         " (" + reply.reason() + ")");
}

}  // namespace keyfs
