// Signs requests for AWS: Signature Version 4
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
//
// libcurl's own (CURLOPT_AWS_SIGV4) needs the secret access key in a plain string and derives the
// signing key for each request, at four times the cost; this keeps the day's signing key, in locked
// memory.
//
// Thread-safety: none; on the loop's thread. Ownership: the arena outlives the signer and the
// requests. Blocking: never. Errors: see sign(). No message holds any part of a key or token.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/http.h"
#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

struct AwsCredentials {
  std::string access_key_id;  // a name, not a secret; part of every request
  SecretBytes secret_access_key;
  SecretBytes session_token;        // empty for long-term keys
  std::optional<WallTime> expires;  // nullopt: never
};
using AwsCredentialsPtr = std::shared_ptr<const AwsCredentials>;

class AwsSigner {
 public:
  // As in the credential scope: "us-east-1", "kms".
  AwsSigner(SecretArena& arena, std::string region, std::string service);

  // Adds X-Amz-Date, X-Amz-Security-Token (if there is one) and Authorization, over the current
  // method, URL, headers and body: nothing may be changed afterwards. The URL's path and query must
  // be percent-encoded. `now`: AWS's time. kInvalid for a request that cannot be signed (no host in
  // the URL, a header twice), kUnavailable without memory.
  Result<void> sign(HttpRequest& request, const AwsCredentialsPtr& credentials, WallTime now);

 private:
  Result<void> derive_key(const AwsCredentialsPtr& credentials, const std::string& date);
  // As libcurl will send it.
  const std::string& host_header(const std::string& url);

  SecretArena& arena_;
  std::string region_;
  std::string service_;
  // The signing key for `key_date_` and exactly these credentials. They are not held: a client that
  // asks for nothing any more would keep a secret that was replaced long ago.
  SecretBytes key_;
  std::string key_date_;
  std::weak_ptr<const AwsCredentials> key_credentials_;
  // A signer mostly signs for one URL.
  std::string host_url_;
  std::string host_;
};

// "20150830T123600Z", the form of X-Amz-Date.
std::string to_amz_date(WallTime time);

}  // namespace keyfs
