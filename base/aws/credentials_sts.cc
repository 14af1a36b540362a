// STS: AssumeRole and AssumeRoleWithWebIdentity.
//   https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
#include <algorithm>
#include <array>

#include "base/aws/credentials_sources.h"
#include "base/aws/endpoint.h"
#include "base/encoding.h"
#include "base/retry.h"
#include "base/secret_file.h"
#include "base/text.h"

namespace keyfs {
namespace {

// The text of the one element of that name, or nullopt. STS's replies are flat enough for this: the
// requested elements appear once, without attributes or child elements.
std::optional<std::string_view> element(std::string_view xml, const std::string& name) {
  const std::string open = "<" + name + ">";
  const std::string close = "</" + name + ">";
  const size_t begin = xml.find(open);
  if (begin == std::string_view::npos) return std::nullopt;
  const std::string_view rest = xml.substr(begin + open.size());
  const size_t end = rest.find(close);
  if (end == std::string_view::npos) return std::nullopt;
  if (rest.substr(end).find(open) != std::string_view::npos) return std::nullopt;
  return rest.substr(0, end);
}

// A value without entities: AWS uses none in these.
std::optional<std::string_view> plain_element(std::string_view xml, const std::string& name) {
  const auto text = element(xml, name);
  if (!text || text->find_first_of("<&") != std::string_view::npos) return std::nullopt;
  return text;
}

constexpr std::chrono::seconds kWithin{5};  // for one region's STS; then the next one is tried

class Sts {
 public:
  Sts(AwsSourceParts& parts, AwsRole role) : parts_(parts), role_(std::move(role)) {}

  SecretArena& arena() { return parts_.http.arena(); }
  const AwsRole& role() const { return role_; }

  // A request without signature; `body` is the form so far, to which the role is added.
  Result<HttpRequest> request(const std::string& region, SecretBuffer& body, TimePoint deadline) {
    auto endpoint = aws_endpoint("sts", region, "", parts_.environment, parts_.allow_plain_http);
    if (!endpoint) return fail(endpoint.error());
    std::string form = "&Version=2011-06-15&RoleArn=" + percent_encode(role_.arn) +
                       "&RoleSessionName=" + percent_encode(role_.session_name) +
                       "&DurationSeconds=" + std::to_string(role_.duration_seconds);
    if (!role_.external_id.empty()) form += "&ExternalId=" + percent_encode(role_.external_id);
    if (auto ok = body.append(form); !ok) return fail(ok.error());
    HttpRequest out("POST", *endpoint, std::min(deadline, parts_.http.loop().now() + kWithin));
    out.headers.push_back({"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"});
    out.secret_body = body.take();
    out.secret_response = true;
    out.max_response = 64 * 1024;
    return out;
  }

  static std::string error_name(const HttpResponse& response) {
    const auto name = plain_element(response.text(), "Code");
    return name && is_error_name(*name) ? std::string(*name) : "";
  }

  // The meaning of STS's refusal.
  Error refusal(const std::string& who, const HttpResponse& response, const std::string& action) {
    const std::string name = error_name(response);
    const std::string reason = name.empty() ? "HTTP " + std::to_string(response.status) : name;
    const auto because = [&](Code code, const std::string& what) {
      return Error(code, who + ": " + what + " (" + reason + ")");
    };
    if (response.status >= 500 || name == "IDPCommunicationError") {
      return because(Code::kUnavailable, "STS failed");
    }
    if (name.starts_with("Throttl") || response.status == 429) {
      return because(Code::kThrottled, "STS is throttling");
    }
    if (name == "AccessDenied" || name == "AccessDeniedException") {
      return because(Code::kUnauthenticated, "may not assume " + role_.arn +
                                                 ": the role's trust policy and the caller's "
                                                 "permissions must allow sts:" +
                                                 action);
    }
    if (name == "ExpiredTokenException" || name == "ExpiredToken") {
      return because(Code::kUnauthenticated, "the identity token has expired");
    }
    if (name == "InvalidIdentityToken" || name == "IDPRejectedClaim") {
      return because(Code::kUnauthenticated,
                     "STS does not accept the identity token: check the role's identity provider");
    }
    if (name == "RegionDisabledException") {
      return because(Code::kUnavailable, "STS is not activated in this region for the account");
    }
    return because(Code::kUnauthenticated, "STS refuses");
  }

 private:
  AwsSourceParts& parts_;
  AwsRole role_;
};

class AssumedRole final : public AwsCredentialSource {
 public:
  AssumedRole(AwsSourceParts& parts, AwsRole role, AwsCredentialSourcePtr base)
      : parts_(parts), sts_(parts, std::move(role)), base_(std::move(base)) {}

  std::string name() const override {
    return "the role " + sts_.role().arn + " by " + base_->name();
  }

  Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) override {
    auto base = co_await base_->fetch(deadline);
    if (!base) co_return fail(base.error());
    const auto regions = parts_.sts_regions;
    for (size_t i = 0;; ++i) {
      auto assumed = co_await ask(regions[i], *base, deadline);
      if (assumed || i + 1 == regions.size() || !may_pass(assumed.error().code)) {
        co_return assumed;
      }
    }
  }

 private:
  Task<Result<AwsCredentialsPtr>> ask(std::string region, AwsCredentialsPtr base,
                                      TimePoint deadline) {
    AwsSigner signer(sts_.arena(), region, "sts");
    for (bool corrected = false;; corrected = true) {
      SecretBuffer body(sts_.arena());
      if (auto ok = body.append("Action=AssumeRole"); !ok) co_return fail(ok.error());
      auto request = sts_.request(region, body, deadline);
      if (!request) co_return fail(request.error().within(name()));
      if (auto ok = signer.sign(*request, base, parts_.clock.now()); !ok) {
        co_return fail(ok.error());
      }
      auto response = co_await parts_.http.exchange(*request);
      if (!response) co_return fail(response.error().within(name()));
      if (response->status == 200) {
        co_return parse_sts_credentials(sts_.arena(), name(), response->text());
      }
      constexpr std::array<std::string_view, 4> kTime = {"SignatureDoesNotMatch",
                                                         "InvalidSignatureException",
                                                         "RequestExpired", "RequestTimeTooSkewed"};
      const bool time = among(kTime, Sts::error_name(*response));
      if (time && !corrected && parts_.clock.learn(*response)) continue;
      Error error = sts_.refusal(name(), *response, "AssumeRole");
      if (time && corrected) error.message += "; " + parts_.clock.complaint() + ": set the clock";
      co_return fail(std::move(error));
    }
  }

  AwsSourceParts& parts_;
  Sts sts_;
  AwsCredentialSourcePtr base_;
};

class WebIdentity final : public AwsCredentialSource {
 public:
  WebIdentity(AwsSourceParts& parts, AwsRole role, std::string token_file)
      : parts_(parts), sts_(parts, std::move(role)), token_file_(std::move(token_file)) {}

  std::string name() const override {
    return "the role " + sts_.role().arn + " by the web identity in " + token_file_;
  }

  Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) override {
    SecretArena& arena = sts_.arena();
    const std::function<Result<std::optional<SecretBytes>>()> read = [&arena, path = token_file_] {
      return read_secret_file(arena, path);
    };
    auto token = co_await parts_.worker.run(read);
    if (!token) co_return fail(token.error().within(name()));
    if (!*token || (*token)->empty()) {
      co_return fail(Code::kUnauthenticated, name() + ": the token file is missing or empty");
    }
    const auto regions = parts_.sts_regions;
    for (size_t i = 0;; ++i) {
      auto assumed = co_await ask(regions[i], **token, deadline);
      if (assumed || i + 1 == regions.size() || !may_pass(assumed.error().code)) {
        co_return assumed;
      }
    }
  }

 private:
  Task<Result<AwsCredentialsPtr>> ask(std::string region, const SecretBytes& token,
                                      TimePoint deadline) {
    SecretBuffer body(sts_.arena());
    auto ok = body.append("Action=AssumeRoleWithWebIdentity&WebIdentityToken=").and_then([&] {
      return append_encoded(body, token.reveal_text());
    });
    if (!ok) co_return fail(ok.error());
    auto request = sts_.request(region, body, deadline);
    if (!request) co_return fail(request.error().within(name()));
    auto response = co_await parts_.http.exchange(*request);
    if (!response) co_return fail(response.error().within(name()));
    if (response->status == 200) {
      co_return parse_sts_credentials(sts_.arena(), name(), response->text());
    }
    co_return fail(sts_.refusal(name(), *response, "AssumeRoleWithWebIdentity"));
  }

  // percent_encode() for a secret; line ends at the end of the file are not part of the token.
  static Result<void> append_encoded(SecretBuffer& out, std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      Result<void> ok;
      if (is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
        ok = out.append(std::string_view(&c, 1));
      } else {
        constexpr std::string_view kHex = "0123456789ABCDEF";
        const char encoded[] = {'%', kHex[byte >> 4], kHex[byte & 15]};
        ok = out.append(std::string_view(encoded, 3));
      }
      if (!ok) return ok;
    }
    return {};
  }

  AwsSourceParts& parts_;
  Sts sts_;
  std::string token_file_;
};

}  // namespace

Result<AwsCredentialsPtr> parse_sts_credentials(SecretArena& arena, const std::string& who,
                                                std::string_view xml) {
  const auto credentials = element(xml, "Credentials");
  const auto from = [&](const char* name) {
    return credentials ? plain_element(*credentials, name) : std::nullopt;
  };
  const auto id = from("AccessKeyId");
  const auto secret = from("SecretAccessKey");
  const auto token = from("SessionToken");
  const auto expires = from("Expiration");
  if (!id || !secret || !token || !expires) {
    return fail(Code::kUnauthenticated, who + ": STS's answer is malformed");
  }
  auto kept_secret = arena.copy_of(*secret);
  auto kept_token = arena.copy_of(*token);
  if (!kept_secret) return fail(kept_secret.error());
  if (!kept_token) return fail(kept_token.error());
  return make_credentials(who, std::string(*id), std::move(*kept_secret), std::move(*kept_token),
                          *expires);
}

AwsCredentialSourcePtr assumed_role(AwsSourceParts& parts, AwsRole role,
                                    AwsCredentialSourcePtr base) {
  return std::make_unique<AssumedRole>(parts, std::move(role), std::move(base));
}

AwsCredentialSourcePtr web_identity(AwsSourceParts& parts, AwsRole role, std::string token_file) {
  return std::make_unique<WebIdentity>(parts, std::move(role), std::move(token_file));
}

}  // namespace keyfs
