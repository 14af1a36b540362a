#include "base/aws/credentials_sources.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/secret_json.h"

namespace keyfs {
namespace {

class Given final : public AwsCredentialSource {
 public:
  Given(std::string name, AwsCredentialsPtr credentials)
      : name_(std::move(name)), credentials_(std::move(credentials)) {}
  std::string name() const override { return name_; }
  Task<Result<AwsCredentialsPtr>> fetch(TimePoint) override { co_return credentials_; }

 private:
  std::string name_;
  AwsCredentialsPtr credentials_;
};

// "2026-11-22T04:00:00Z", and variants: ".123456Z", "+00:00", "-07:00".
std::optional<WallTime> parse_expiry(std::string_view text) {
  constexpr size_t kWhole = 19;
  if (text.size() <= kWhole) return std::nullopt;
  const auto whole = from_rfc3339(std::string(text.substr(0, kWhole)) + "Z");
  std::string_view rest = text.substr(kWhole);
  if (rest.front() == '.') {
    rest.remove_prefix(1);
    while (!rest.empty() && std::isdigit(static_cast<unsigned char>(rest.front()))) {
      rest.remove_prefix(1);
    }
  }
  if (rest == "Z") return whole;
  if (!whole || rest.size() != 6 || (rest[0] != '+' && rest[0] != '-') || rest[3] != ':') {
    return std::nullopt;
  }
  int hours = 0;
  int minutes = 0;
  if (std::from_chars(&rest[1], &rest[1] + 2, hours).ptr != &rest[1] + 2 ||
      std::from_chars(&rest[4], &rest[4] + 2, minutes).ptr != &rest[4] + 2) {
    return std::nullopt;
  }
  const auto offset = std::chrono::hours(hours) + std::chrono::minutes(minutes);
  return rest[0] == '+' ? *whole - offset : *whole + offset;
}

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

AwsCredentialSourcePtr given_credentials(std::string name, AwsCredentialsPtr credentials) {
  return std::make_unique<Given>(std::move(name), std::move(credentials));
}

Result<AwsCredentialsPtr> make_credentials(const std::string& who, std::string access_key_id,
                                           SecretBytes secret_access_key, SecretBytes session_token,
                                           std::string_view expires) {
  const auto malformed = [&who](const char* what) {
    return fail(Code::kUnauthenticated, who + ": " + what);
  };
  if (access_key_id.empty()) return malformed("there is no access key id");
  if (secret_access_key.empty()) return malformed("there is no secret access key");
  // A header value must not contain a line end.
  if (access_key_id.size() > 128 || !printable(access_key_id)) {
    return malformed("the access key id is malformed");
  }
  if (!printable(secret_access_key.reveal_text())) {
    return malformed("the secret access key is malformed (a blank or a line end in it?)");
  }
  if (!printable(session_token.reveal_text())) {
    return malformed("the session token is malformed (a blank or a line end in it?)");
  }
  auto out = std::make_shared<AwsCredentials>();
  if (!expires.empty()) {
    out->expires = parse_expiry(expires);
    if (!out->expires) return malformed("the expiration time is malformed");
  }
  out->access_key_id = std::move(access_key_id);
  out->secret_access_key = std::move(secret_access_key);
  out->session_token = std::move(session_token);
  return out;
}

Result<AwsCredentialsPtr> parse_credentials_json(SecretArena& arena, const std::string& who,
                                                 std::string_view text,
                                                 std::string_view token_name) {
  const auto malformed = [&who](const Error& why) {
    return fail(Code::kUnauthenticated, who + ": the answer is malformed: " + why.message);
  };
  auto json = SecretJson::parse(text);
  if (!json) return malformed(json.error());
  auto id = json->string("AccessKeyId");
  auto secret = json->secret(arena, "SecretAccessKey");
  auto token = json->secret(arena, token_name);
  auto expires = json->string("Expiration");
  if (!id) return malformed(id.error());
  if (!secret) return malformed(secret.error());
  if (!token) return malformed(token.error());
  if (!expires) return malformed(expires.error());
  return make_credentials(who, std::move(*id).value_or(""),
                          *secret ? std::move(**secret) : SecretBytes(),
                          *token ? std::move(**token) : SecretBytes(), expires->value_or(""));
}

}  // namespace keyfs
