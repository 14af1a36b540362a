// What the errors of KMS mean, each for its region.
//   https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html, and the errors of
//   Decrypt, Encrypt and GenerateDataKey
//
// Thread-safety: plain functions. Blocking: never.
#pragma once

#include <string>

#include "base/aws/client.h"
#include "base/result.h"

namespace keyfs {

//   kUnavailable  KMSInternalException, KeyUnavailableException, DependencyTimeoutException, 5xx,
//                 and whatever is not known here
//   kThrottled    ThrottlingException, LimitExceededException, 429
//   kDenied       DisabledException, KMSInvalidStateException, NotFoundException,
//                 AccessDeniedException, InvalidKeyUsageException, InvalidGrantTokenException
//   kCorrupt      InvalidCiphertextException, IncorrectKeyException
//   kInvalid      ValidationException and others that say that the request is malformed
// Those about credentials and signatures never come here (base/aws/client.h).
Code kms_error_code(const AwsReply& reply);

// The same with a message: what it means, the name of the error, what to do. `key` as configured.
Error kms_error(const AwsReply& reply, const std::string& operation, const std::string& key,
                const std::string& region);

}  // namespace keyfs
