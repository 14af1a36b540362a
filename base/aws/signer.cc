#include "base/aws/signer.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ctime>
#include <string_view>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/encoding.h"
#include "base/text.h"

namespace keyfs {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

// A hash that is wiped: the intermediate steps of a signing key are as good as the key.
class SecretHash {
 public:
  SecretHash() = default;
  ~SecretHash() { wipe(bytes_); }
  SecretHash(const SecretHash&) = delete;
  SecretHash& operator=(const SecretHash&) = delete;

  Result<void> hmac(std::span<const uint8_t> key, std::string_view text) {
    auto result = hmac_sha256(key, bytes_of(text));
    if (!result) return fail(result.error());
    bytes_ = *result;
    wipe(*result);
    return {};
  }
  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  Sha256 bytes_{};
};

struct UrlParts {
  std::string_view path;
  std::string_view query;
};

std::optional<UrlParts> split_url(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::nullopt;
  url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find('#'));
  const size_t begin = url.find_first_of("/?");
  if (begin == std::string_view::npos) return UrlParts{};
  url.remove_prefix(begin);
  const size_t question = url.find('?');
  UrlParts parts;
  parts.path = url.substr(0, question);
  if (question != std::string_view::npos) parts.query = url.substr(question + 1);
  return parts;
}

// Names and values encoded as AWS does, sorted by name, then by value.
Result<std::string> canonical_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!query.empty()) {
    const size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    query = end == std::string_view::npos ? "" : query.substr(end + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    auto name = percent_decode(pair.substr(0, equals));
    auto value = percent_decode(equals == std::string_view::npos ? "" : pair.substr(equals + 1));
    if (!name || !value) return fail(Code::kInvalid, "cannot sign: the query is malformed");
    pairs.emplace_back(percent_encode(*name), percent_encode(*value));
  }
  std::sort(pairs.begin(), pairs.end());
  std::string out;
  for (const auto& [name, value] : pairs) {
    if (!out.empty()) out += '&';
    out.append(name).append("=").append(value);
  }
  return out;
}

// Trims the value and collapses runs of blanks.
Result<void> append_trimmed(SecretBuffer& out, std::string_view value) {
  bool any = false;
  while (!value.empty()) {
    const size_t word = value.find_first_not_of(" \t");
    if (word == std::string_view::npos) break;
    value.remove_prefix(word);
    const std::string_view text = value.substr(0, value.find_first_of(" \t"));
    value.remove_prefix(text.size());
    if (std::exchange(any, true)) {
      if (auto ok = out.append(" "); !ok) return ok;
    }
    if (auto ok = out.append(text); !ok) return ok;
  }
  return {};
}

}  // namespace

std::string to_amz_date(WallTime time) {
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

AwsSigner::AwsSigner(SecretArena& arena, std::string region, std::string service)
    : arena_(arena), region_(std::move(region)), service_(std::move(service)) {}

Result<void> AwsSigner::derive_key(const AwsCredentialsPtr& credentials, const std::string& date) {
  if (key_date_ == date && key_credentials_.lock() == credentials) return {};
  key_credentials_.reset();
  SecretBuffer secret(arena_);
  SecretHash by_date;
  SecretHash by_region;
  SecretHash by_service;
  SecretHash key;
  auto done =
      secret.append("AWS4")
          .and_then([&] { return secret.append(credentials->secret_access_key.reveal_text()); })
          .and_then([&] { return by_date.hmac(bytes_of(secret.reveal_text()), date); })
          .and_then([&] { return by_region.hmac(by_date.bytes(), region_); })
          .and_then([&] { return by_service.hmac(by_region.bytes(), service_); })
          .and_then([&] { return key.hmac(by_service.bytes(), "aws4_request"); });
  if (!done) return done;
  auto kept = arena_.copy_of(key.bytes());
  if (!kept) return fail(kept.error());
  key_ = std::move(*kept);
  key_date_ = date;
  key_credentials_ = credentials;
  return {};
}

const std::string& AwsSigner::host_header(const std::string& url) {
  if (url != host_url_) {
    host_ = host_of(url);
    host_url_ = url;
  }
  return host_;
}

Result<void> AwsSigner::sign(HttpRequest& request, const AwsCredentialsPtr& credentials,
                             WallTime now) {
  const auto url = split_url(request.url);
  if (!url) return fail(Code::kInvalid, "cannot sign: not a URL");
  if (url->path.find("/.") != std::string_view::npos ||
      url->path.find("//") != std::string_view::npos) {
    return fail(Code::kInvalid, "cannot sign: the path is not normalized");
  }
  const std::string amz_date = to_amz_date(now);
  const std::string date = amz_date.substr(0, 8);
  if (auto ok = derive_key(credentials, date); !ok) return ok;

  request.headers.push_back({"X-Amz-Date", amz_date});
  if (!credentials->session_token.empty()) {
    auto token = arena_.copy_of(credentials->session_token.reveal());
    if (!token) return fail(token.error());
    request.secret_headers.push_back({"X-Amz-Security-Token", std::move(*token)});
  }

  // Signs every header that we set, and the host as libcurl will send it.
  std::vector<std::pair<std::string, std::string_view>> headers = {
      {"host", host_header(request.url)}};
  for (const auto& header : request.headers) headers.emplace_back(lower(header.name), header.value);
  for (const auto& header : request.secret_headers) {
    headers.emplace_back(lower(header.name), header.value.reveal_text());
  }
  std::sort(headers.begin(), headers.end());
  std::string signed_headers;
  for (size_t i = 0; i < headers.size(); ++i) {
    if (i > 0 && headers[i].first == headers[i - 1].first) {
      return fail(Code::kInvalid, "cannot sign: the header " + headers[i].first + " appears twice");
    }
    signed_headers += (i > 0 ? ";" : "") + headers[i].first;
  }

  const std::string_view body =
      request.secret_body.empty() ? request.body : request.secret_body.reveal_text();
  auto body_hash = sha256(bytes_of(body));
  if (!body_hash) return fail(body_hash.error());
  auto query = canonical_query(url->query);
  if (!query) return fail(query.error());
  // Path segments are encoded once more than they are in the URL (all services but S3).
  const std::string path = url->path.empty() ? "/" : percent_encode(url->path, true);

  SecretBuffer canonical(arena_);  // it holds the session token
  auto built = canonical.append(request.method + "\n" + path + "\n" + *query + "\n");
  for (const auto& [name, value] : headers) {
    built = std::move(built)
                .and_then([&, &name = name] { return canonical.append(name + ":"); })
                .and_then([&, &value = value] { return append_trimmed(canonical, value); })
                .and_then([&] { return canonical.append("\n"); });
  }
  built = std::move(built).and_then(
      [&] { return canonical.append("\n" + signed_headers + "\n" + hex_encode(*body_hash)); });
  if (!built) return built;
  auto canonical_hash = sha256(bytes_of(canonical.reveal_text()));
  if (!canonical_hash) return fail(canonical_hash.error());

  const std::string scope = date + "/" + region_ + "/" + service_ + "/aws4_request";
  const std::string to_sign =
      std::string(kAlgorithm) + "\n" + amz_date + "\n" + scope + "\n" + hex_encode(*canonical_hash);
  auto signature = hmac_sha256(key_.reveal(), bytes_of(to_sign));
  if (!signature) return fail(signature.error());
  request.headers.push_back(
      {"Authorization", std::string(kAlgorithm) + " Credential=" + credentials->access_key_id +
                            "/" + scope + ", SignedHeaders=" + signed_headers +
                            ", Signature=" + hex_encode(*signature)});
  return {};
}

}  // namespace keyfs
