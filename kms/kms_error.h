// What KMS's errors mean for a region.
//   https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html, and the errors of
//   Decrypt, Encrypt and GenerateDataKey
//
// Thread-safety: plain functions. Blocking: never. Errors: they are the result.
#pragma once

#include <string>

#include "base/aws/client.h"
#include "base/result.h"

namespace keyfs {

//   kUnavailable  KMSInternalException, KeyUnavailableException, DependencyTimeoutException, 5xx,
//                 and all unknown errors
//   kThrottled    ThrottlingException, LimitExceededException, 429
//   kDenied       DisabledException, KMSInvalidStateException, NotFoundException,
//                 AccessDeniedException, InvalidKeyUsageException, InvalidGrantTokenException
//   kCorrupt      InvalidCiphertextException, IncorrectKeyException
//   kInvalid      ValidationException and others that say that the request is malformed
// Errors about credentials and signatures are handled before (base/aws/client.h).
Code kms_error_code(const AwsReply& reply);

// The same with a message: what it means, the error's name, what to do. `key` is as configured.
Error kms_error(const AwsReply& reply, const std::string& operation, const std::string& key,
                const std::string& region);

}  // namespace keyfs
