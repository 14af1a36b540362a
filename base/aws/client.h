// Calls to an AWS service that speaks JSON (KMS, DynamoDB): signed, with fresh credentials and the
// right time.
//
// It retries only in two cases, once per call each: if AWS says that the credentials are expired or
// unknown, they are renewed; if AWS refuses the signature and its Date header differs from this
// machine's clock, the difference is kept for all later calls. The caller decides what to do about
// a ThrottlingException or a 500.
//
// Thread-safety: none; on the loop's thread. Ownership: `http` and `credentials` outlive the
// client, the client its tasks. Blocking: never. Dropping a task ends its request.
// Errors: see call(). Messages never quote a reply.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/aws/clock.h"
#include "base/aws/credentials.h"
#include "base/aws/signer.h"
#include "base/http.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"

namespace keyfs {

struct AwsServiceOptions {
  std::string service;        // as signed: "kms"
  std::string region;         // as signed: "us-east-1"
  std::string endpoint;       // from aws_endpoint()
  std::string target_prefix;  // "TrentService.", "DynamoDB_20120810."
  std::string json_version;   // "1.1", "1.0"
};

struct AwsCall {
  AwsCall(std::string called_operation, std::string request_body, TimePoint call_deadline)
      : operation(std::move(called_operation)),
        body(std::move(request_body)),
        deadline(call_deadline) {}

  std::string operation;  // "Decrypt"
  std::string body;       // JSON; at most one of the two
  SecretBytes secret_body;
  bool secret_response = false;  // the reply comes in HttpResponse::secret_body
  // As HttpRequest's: for what must not be done twice (CreateKey).
  bool own_connection = false;
  size_t max_response = size_t{1} << 20;  // bytes
  TimePoint deadline;                     // of everything, credentials included
};

struct AwsReply {
  // AWS's name for the error, without its namespace: "ThrottlingException". Empty when the
  // call succeeded, and for errors that carry no name.
  std::string error;
  HttpResponse http;

  bool ok() const { return http.status == 200; }
  // For messages: "ThrottlingException", or "HTTP 503" if there is no name.
  std::string reason() const;
};

class AwsClient {
 public:
  AwsClient(HttpClient& http, AwsCredentialProvider& credentials, AwsServiceOptions options);

  // AWS's reply: good or bad, it is not an error here. kUnauthenticated if there are no
  // credentials, or AWS refuses them even after renewal: the message names cause and remedy.
  // kUnavailable and kTimeout as in base/http.h.
  Task<Result<AwsReply>> call(AwsCall call);

  // Opens a connection for the next call by a request that asks for nothing; ends `within` that
  // time, whatever came of it. "GET /ping" is what KMS itself answers without credentials.
  Task<void> keep_warm(Duration within);

  const AwsServiceOptions& options() const { return options_; }
  const std::string& host() const { return host_; }  // for messages
  // AWS's time minus this machine's, if a call had to learn it; otherwise zero.
  Duration clock_offset() const { return clock_.offset(); }
  std::string clock_complaint() const { return clock_.complaint(); }

 private:
  Error refusal(const AwsReply& reply, bool renewed) const;

  HttpClient& http_;
  AwsCredentialProvider& credentials_;
  AwsServiceOptions options_;
  std::string host_;
  AwsSigner signer_;
  AwsClock clock_;
};

}  // namespace keyfs
