#include "fs/daemon/remote_parts.h"

#include <utility>

#include "base/aws/client.h"
#include "base/environment.h"
#include "kms/aws_region_factory.h"
#include "store/dynamodb/store.h"

namespace keyfs {
namespace {

HttpClientOptions with_proxies(HttpClientOptions options, const Environment& environment) {
  const auto either = [&](const char* name, const char* other) {
    auto value = environment(name);
    if (!value) value = environment(other);
    return value.value_or("");
  };
  options.https_proxy = either("https_proxy", "HTTPS_PROXY");
  // A client of a CGI program can set HTTP_PROXY by a header "Proxy:": lower case only.
  options.http_proxy = environment("http_proxy").value_or("");
  options.no_proxy = either("no_proxy", "NO_PROXY");
  return options;
}

}  // namespace

struct RemoteParts::Aws {
  Aws(std::unique_ptr<HttpClient> client, std::unique_ptr<HttpClient> direct_client,
      Environment environment, std::function<void(const std::string&)> warn)
      : http(std::move(client)),
        direct(std::move(direct_client)),
        regions(*http, *direct, std::move(environment), std::move(warn)) {}

  std::unique_ptr<HttpClient> http;
  std::unique_ptr<HttpClient> direct;  // for metadata services, without a proxy
  AwsRegionFactory regions;
};

RemoteParts::RemoteParts(Loop& loop, CurlPoller& poller, SecretArena& arena, Random& random)
    : loop_(loop), poller_(poller), arena_(arena), random_(random) {}
RemoteParts::~RemoteParts() = default;

Result<RemoteParts::Aws*> RemoteParts::aws() {
  if (aws_ != nullptr) return aws_.get();
  const Environment environment = process_environment();
  HttpClientOptions options;
  options.ca_file = environment("AWS_CA_BUNDLE").value_or("");
  auto direct = HttpClient::create(loop_, poller_, arena_, options);
  if (!direct) return fail(direct.error());
  auto http = HttpClient::create(loop_, poller_, arena_, with_proxies(options, environment));
  if (!http) return fail(http.error());
  aws_ = std::make_unique<Aws>(std::move(*http), std::move(*direct), environment,
                               [this](const std::string& message) {
                                 if (warn_) warn_(message);
                               });
  return aws_.get();
}

Result<std::unique_ptr<HttpClient>> RemoteParts::web_client() {
  return HttpClient::create(loop_, poller_, arena_, with_proxies({}, process_environment()));
}

Result<std::unique_ptr<Region>> RemoteParts::aws_region(const ConfigSection& section) {
  auto parts = aws();
  if (!parts) return fail(section.mistake("type", parts.error().message));
  return (*parts)->regions.make(section);
}

Result<std::unique_ptr<AwsClient>> RemoteParts::aws_signing_client(const ConfigSection& section,
                                                                   const KmsAccess& access) {
  auto parts = aws();
  if (!parts) return fail(section.mistake("regions", parts.error().message));
  auto client = (*parts)->regions.client(access);
  if (!client) {
    return fail(
        section.mistake(access.endpoint.empty() ? "regions" : "endpoint", client.error().message));
  }
  return client;
}

Result<std::unique_ptr<AwsClient>> RemoteParts::kms_client(const KmsAccess& access) {
  auto parts = aws();
  if (!parts) return fail(parts.error());
  return (*parts)->regions.client(access);
}

Result<void> RemoteParts::use_credentials(AwsCredentialsPtr credentials) {
  auto parts = aws();
  if (!parts) return fail(parts.error());
  (*parts)->regions.use_credentials(std::move(credentials));
  return {};
}

Result<std::unique_ptr<Store>> RemoteParts::dynamodb_store(const ConfigSection& section,
                                                           const std::string& state_dir) {
  auto parts = aws();
  if (!parts) return fail(section.mistake("type", parts.error().message));
  Aws& made = **parts;
  const DynamoDbParts dynamodb{
      loop_,
      random_,
      *made.http,
      [&made](const std::string& profile, const std::string& role_arn) -> AwsCredentialProvider& {
        return made.regions.credentials(profile, role_arn);
      },
      process_environment(),
      state_dir};
  return make_dynamodb_store(section, dynamodb);
}

}  // namespace keyfs
