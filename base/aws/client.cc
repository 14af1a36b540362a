#include "base/aws/client.h"

#include <algorithm>
#include <array>

#include "base/secret_json.h"
#include "base/text.h"

namespace keyfs {
namespace {

// The credentials themselves are refused; new ones may work.
constexpr std::array<std::string_view, 8> kRefused = {
    "ExpiredTokenException",      "ExpiredToken",          "UnrecognizedClientException",
    "InvalidClientTokenId",       "InvalidAccessKeyId",    "MissingAuthenticationTokenException",
    "MissingAuthenticationToken", "InvalidTokenException",
};
// The signature is refused: wrong time, or wrong secret access key.
constexpr std::array<std::string_view, 6> kSignature = {
    "InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired",
    "RequestTimeTooSkewed",      "IncompleteSignature",   "IncompleteSignatureException",
};

// "com.amazon.coral.service#AccessDeniedException", "X:http://internal.amazon.com/...": only the
// name, fit for a message; empty for anything that is not a name.
std::string short_name(std::string_view text) {
  text = text.substr(0, text.find(':'));
  if (const size_t hash = text.rfind('#'); hash != std::string_view::npos) {
    text.remove_prefix(hash + 1);
  }
  return is_error_name(text) ? std::string(text) : "";
}

// Where AWS puts the name: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
std::string error_name(const HttpResponse& response) {
  if (const std::string* header = response.header("x-amzn-errortype")) return short_name(*header);
  const auto body = SecretJson::parse(response.text());
  if (!body) return "";
  for (const char* field : {"__type", "code"}) {
    const auto name = body->string(field);
    if (name && *name) return short_name(**name);
  }
  return "";
}

}  // namespace

std::string AwsReply::reason() const {
  return error.empty() ? "HTTP " + std::to_string(http.status) : error;
}

AwsClient::AwsClient(HttpClient& http, AwsCredentialProvider& credentials,
                     AwsServiceOptions options)
    : http_(http),
      credentials_(credentials),
      options_(std::move(options)),
      host_(host_of(options_.endpoint)),
      signer_(http.arena(), options_.region, options_.service),
      clock_(http.loop().clock()) {}

Error AwsClient::refusal(const AwsReply& reply, bool renewed) const {
  const std::string origin = credentials_.origin();
  std::string message = host_ + ": AWS refuses ";
  const bool signature = among(kSignature, reply.error);
  if (signature && clock_.offset().count() != 0) {
    message +=
        "the signature (" + reply.reason() + "): " + clock_.complaint() +
        ", and correcting for it did not help: set the clock (chrony, systemd-timesyncd), and "
        "check that the secret access key from " +
        origin + " is right";
  } else if (signature) {
    message += "the signature (" + reply.reason() + "): the secret access key from " + origin +
               " is wrong, or a proxy changes the requests";
  } else if (reply.error.starts_with("Expired")) {
    message += "the credentials from " + origin + " as expired (" + reply.reason() + ")" +
               (renewed ? ", even after they were renewed" : "") + ": renew them at their source";
  } else {
    message += "the credentials from " + origin + " (" + reply.reason() +
               "): the access key was deleted or deactivated, its session token is missing, or it "
               "belongs to another partition";
  }
  return Error(Code::kUnauthenticated, std::move(message));
}

Task<Result<AwsReply>> AwsClient::call(AwsCall call) {
  HttpRequest request("POST", options_.endpoint, call.deadline);
  request.body = std::move(call.body);
  request.secret_body = std::move(call.secret_body);
  request.secret_response = call.secret_response;
  request.max_response = call.max_response;
  request.own_connection = call.own_connection;
  bool renewed = false;
  bool corrected = false;
  for (;;) {
    auto credentials = co_await credentials_.get(call.deadline);
    if (!credentials) {
      Error error = credentials.error().within(host_);
      // A mistake in a profile is none in this request: whoever is asked with other credentials may
      // well answer it.
      if (error.code == Code::kInvalid) error.code = Code::kUnauthenticated;
      co_return fail(std::move(error));
    }
    request.secret_headers.clear();
    request.headers.clear();
    request.headers.push_back({"Content-Type", "application/x-amz-json-" + options_.json_version});
    request.headers.push_back({"X-Amz-Target", options_.target_prefix + call.operation});
    const auto offset = clock_.offset();
    if (auto ok = signer_.sign(request, *credentials, clock_.now()); !ok)
      co_return fail(ok.error());

    auto response = co_await http_.exchange(request);
    if (!response) co_return fail(response.error());
    AwsReply reply;
    reply.http = std::move(*response);
    if (reply.ok()) co_return reply;
    reply.error = error_name(reply.http);

    const bool signature = among(kSignature, reply.error);
    if (!signature && !among(kRefused, reply.error)) co_return reply;
    // Another call that was refused at the same time may have learned it first.
    if (signature && !corrected && (clock_.learn(reply.http) || clock_.offset() != offset)) {
      corrected = true;
      continue;
    }
    if (renewed) co_return fail(refusal(reply, true));
    renewed = true;
    credentials_.refused(*credentials);
    auto fresh = co_await credentials_.get(call.deadline);
    if (!fresh) {
      Error error = refusal(reply, false);
      error.message += "; could not get new ones: " + fresh.error().message;
      co_return fail(std::move(error));
    }
    if ((*fresh)->access_key_id == (*credentials)->access_key_id &&
        (*fresh)->secret_access_key.equals((*credentials)->secret_access_key.reveal()) &&
        (*fresh)->session_token.equals((*credentials)->session_token.reveal())) {
      co_return fail(refusal(reply, false));  // a retry would be refused again
    }
  }
}

Task<void> AwsClient::keep_warm(Duration within) {
  HttpRequest request("GET", options_.endpoint + "ping", http_.loop().now() + within);
  // By HTTP/1.1, like the calls, so that they can use the connection.
  request.secret_response = true;
  (void)co_await http_.exchange(request);
}

}  // namespace keyfs
