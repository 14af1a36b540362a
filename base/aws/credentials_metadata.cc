// The credential services of containers and instances.
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
#include <algorithm>
#include <array>

#include "base/aws/credentials_sources.h"
#include "base/aws/endpoint.h"
#include "base/host.h"
#include "base/secret_file.h"
#include "base/text.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxReply = 64 * 1024;

std::string_view without_line_end(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

Error bad_status(const std::string& who, int status) {
  const std::string message = who + " answers HTTP " + std::to_string(status);
  if (status >= 500) return Error(Code::kUnavailable, message);
  if (status == 429) return Error(Code::kThrottled, message);
  if (status == 401 || status == 403) {
    return Error(Code::kUnauthenticated, message + ": it does not accept the authorization token");
  }
  return Error(Code::kUnauthenticated, message);
}

class Container final : public AwsCredentialSource {
 public:
  Container(AwsSourceParts& parts, std::string url, std::string token_file, std::string token)
      : parts_(parts),
        url_(std::move(url)),
        token_file_(std::move(token_file)),
        token_(std::move(token)) {}

  std::string name() const override {
    return "the container's credentials (" + host_of(url_) + ")";
  }

  Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) override {
    SecretArena& arena = parts_.direct.arena();
    HttpRequest request("GET", url_, std::min(deadline, parts_.direct.loop().now() + 5s));
    request.secret_response = true;
    request.max_response = kMaxReply;
    request.headers.push_back({"Accept", "application/json"});
    if (!token_file_.empty()) {  // EKS replaces it from time to time, so read it each time
      const std::function<Result<std::optional<SecretBytes>>()> read =
          [&arena, path = token_file_] { return read_secret_file(arena, path); };
      auto token = co_await parts_.worker.run(read);
      if (!token) co_return fail(token.error().within(name()));
      if (!*token) {
        co_return fail(Code::kUnauthenticated, name() + ": there is no token file " + token_file_ +
                                                   " (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)");
      }
      (*token)->truncate(without_line_end((*token)->reveal_text()).size());
      request.secret_headers.push_back({"Authorization", std::move(**token)});
    } else if (!token_.empty()) {
      auto token = arena.copy_of(token_);
      if (!token) co_return fail(token.error());
      request.secret_headers.push_back({"Authorization", std::move(*token)});
    }
    auto response = co_await parts_.direct.exchange(request);
    if (!response) co_return fail(response.error().within(name()));
    if (response->status != 200) co_return fail(bad_status(name(), response->status));
    co_return parse_credentials_json(arena, name(), response->text(), "Token");
  }

 private:
  AwsSourceParts& parts_;
  std::string url_;
  std::string token_file_;
  std::string token_;  // also in the environment anyway
};

// Somebody who can set the variable must not make the daemon send its token anywhere.
bool may_go_plain(std::string_view host) {
  constexpr std::array<std::string_view, 3> kOfContainers = {"169.254.170.2", "169.254.170.23",
                                                             "[fd00:ec2::23]"};
  return is_this_machine(host) || among(kOfContainers, without_port(host));
}

class Instance final : public AwsCredentialSource {
 public:
  explicit Instance(AwsSourceParts& parts) : parts_(parts) {}

  std::string name() const override { return "the instance's role (IMDS)"; }
  bool good_past_expiration() const override { return true; }

  Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) override {
    std::string base = parts_.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT").value_or("");
    if (base.empty()) {
      const std::string mode =
          lower(parts_.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").value_or(""));
      base = mode == "ipv6" ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
    }
    while (base.ends_with('/')) base.pop_back();
    base += "/latest/";

    HttpRequest ask_token("PUT", base + "api/token", TimePoint{});
    ask_token.headers.push_back({"X-aws-ec2-metadata-token-ttl-seconds", "21600"});
    auto token = co_await ask(ask_token, deadline);
    if (!token) {
      co_return fail(token.error().code,
                     name() + ": " + token.error().message +
                         " (not on an EC2 instance, IMDS switched off, or in a container behind a "
                         "hop limit of 1: it must be 2)");
    }
    const std::string roles_url = base + "meta-data/iam/security-credentials/";
    HttpRequest ask_roles("GET", roles_url, TimePoint{});
    if (auto ok = add_token(ask_roles, *token); !ok) co_return fail(ok.error());
    auto roles = co_await ask(ask_roles, deadline);
    if (!roles) co_return fail(roles.error().within(name()));
    const std::string_view text = roles->text();
    const std::string role(text.substr(0, text.find_first_of("\r\n")));
    if (role.empty() || !std::all_of(role.begin(), role.end(), [](char c) {
          return is_alnum(c) || std::string_view("+=,.@_-").find(c) != std::string_view::npos;
        })) {
      co_return fail(Code::kUnauthenticated, name() + ": the instance has no role");
    }
    HttpRequest ask_keys("GET", roles_url + role, TimePoint{});
    if (auto ok = add_token(ask_keys, *token); !ok) co_return fail(ok.error());
    auto keys = co_await ask(ask_keys, deadline);
    if (!keys) co_return fail(keys.error().within(name()));
    co_return parse_credentials_json(parts_.direct.arena(), name(), keys->text(), "Token");
  }

 private:
  Result<void> add_token(HttpRequest& request, const HttpResponse& token) {
    auto copy = parts_.direct.arena().copy_of(token.text());
    if (!copy) return fail(copy.error());
    request.secret_headers.push_back({"X-aws-ec2-metadata-token", std::move(*copy)});
    return {};
  }

  // One second per try, as in the SDKs; two tries.
  Task<Result<HttpResponse>> ask(HttpRequest& request, TimePoint deadline) {
    request.secret_response = true;
    request.max_response = kMaxReply;
    for (int tries = 0;; ++tries) {
      request.deadline = std::min(deadline, parts_.direct.loop().now() + 1s);
      auto response = co_await parts_.direct.exchange(request);
      if (response && response->status == 200) co_return response;
      const bool again = !response || response->status >= 500;
      if (again && tries == 0 && parts_.direct.loop().now() < deadline) continue;
      if (!response) co_return fail(response.error());
      if (response->status == 404) {
        co_return fail(Code::kUnauthenticated, "the instance has no role");
      }
      co_return fail(bad_status("it", response->status));
    }
  }

  AwsSourceParts& parts_;
};

}  // namespace

Result<AwsCredentialSourcePtr> container_credentials(AwsSourceParts& parts) {
  std::string url;
  if (auto relative = parts.environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")) {
    if (!relative->starts_with('/')) {
      return fail(Code::kInvalid, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /");
    }
    url = "http://169.254.170.2" + *relative;
  } else if (auto full = parts.environment("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
    url = *full;
    const bool plain = url.starts_with("http://");
    if (!plain && !url.starts_with("https://")) {
      return fail(Code::kInvalid, "AWS_CONTAINER_CREDENTIALS_FULL_URI is not a URL");
    }
    if (plain && !may_go_plain(host_of(url))) {
      return fail(Code::kInvalid,
                  "AWS_CONTAINER_CREDENTIALS_FULL_URI: plain http is for the container services' "
                  "own addresses and for this machine, not for " +
                      host_of(url));
    }
  } else {
    return AwsCredentialSourcePtr();
  }
  return std::make_unique<Container>(
      parts, url, parts.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").value_or(""),
      parts.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN").value_or(""));
}

AwsCredentialSourcePtr instance_credentials(AwsSourceParts& parts) {
  return std::make_unique<Instance>(parts);
}

}  // namespace keyfs
