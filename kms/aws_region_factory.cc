#include "kms/aws_region_factory.h"

#include "base/aws/client.h"
#include "base/aws/credentials_sources.h"
#include "base/aws/endpoint.h"
#include "base/config_reader.h"
#include "kms/aws_region.h"
#include "kms/kms_arn.h"

namespace keyfs {

AwsRegionFactory::AwsRegionFactory(HttpClient& http, HttpClient& direct, Environment environment,
                                   std::function<void(const std::string&)> warn)
    : http_(http), direct_(direct), environment_(std::move(environment)), warn_(std::move(warn)) {}

AwsRegionFactory::~AwsRegionFactory() = default;

AwsCredentialProvider& AwsRegionFactory::credentials(const std::string& profile,
                                                     const std::string& role_arn) {
  auto& provider = providers_[{profile, role_arn}];
  if (provider == nullptr) {
    AwsCredentialOptions options;
    options.profile = profile;
    options.role_arn = role_arn;
    options.warn = warn_;
    provider =
        std::make_unique<AwsCredentialProvider>(http_, direct_, environment_, std::move(options));
  }
  return *provider;
}

void AwsRegionFactory::use_credentials(AwsCredentialsPtr credentials) {
  providers_[{}] = std::make_unique<AwsCredentialProvider>(
      http_, given_credentials("the configuration", std::move(credentials)));
}

std::unique_ptr<AwsClient> AwsRegionFactory::client_at(const std::string& url,
                                                       const KmsAccess& access) {
  AwsCredentialProvider& provider = credentials(access.profile, access.role_arn);
  provider.add_sts_region(access.region);
  if (access.allow_plain_http) provider.allow_plain_http();
  AwsServiceOptions service;
  service.service = AwsRegion::kService;
  service.region = access.region;
  service.endpoint = url;
  service.target_prefix = AwsRegion::kTargetPrefix;
  service.json_version = AwsRegion::kJsonVersion;
  return std::make_unique<AwsClient>(http_, provider, std::move(service));
}

Result<std::unique_ptr<AwsClient>> AwsRegionFactory::client(const KmsAccess& access) {
  const auto url = aws_endpoint(AwsRegion::kService, access.region, access.endpoint, environment_,
                                access.allow_plain_http);
  if (!url) return fail(url.error());
  return client_at(*url, access);
}

Result<std::unique_ptr<Region>> AwsRegionFactory::make(const ConfigSection& section) {
  ConfigReader in(section);
  in.required("type");
  AwsRegionOptions options;
  options.name = section.argument();
  options.key = in.required("key");
  options.region = in.string("aws_region", options.name);
  const std::string endpoint = in.string("endpoint", "");
  const bool allow_plain_http = in.boolean("allow_plain_http", false);
  AwsCredentialOptions credentials;
  credentials.profile = in.string("profile", "");
  credentials.role_arn = in.string("role_arn", "");
  if (!is_aws_region_name(options.region)) {
    in.mistake("aws_region", "must name an AWS region, e.g. us-east-1");
  }
  if (const std::string region = kms_arn_region(options.key);
      !region.empty() && region != options.region) {
    in.mistake("key", "is in " + region + ", not in " + options.region);
  } else if (options.key.starts_with("arn:") && region.empty()) {
    in.mistake("key", "is not the ARN of a KMS key or alias");
  }
  if (!credentials.role_arn.empty() && !credentials.role_arn.starts_with("arn:")) {
    in.mistake("role_arn", "is not an ARN");
  }
  auto url =
      aws_endpoint(AwsRegion::kService, options.region, endpoint, environment_, allow_plain_http);
  if (!url && is_aws_region_name(options.region)) {
    in.mistake(endpoint.empty() ? "type" : "endpoint", url.error().message);
  }
  if (auto ok = in.finish(); !ok) return fail(ok.error());

  const KmsAccess access{options.region, "", credentials.profile, credentials.role_arn,
                         allow_plain_http};
  auto client = client_at(*url, access);
  return std::make_unique<AwsRegion>(http_.loop(), http_.arena(), std::move(options),
                                     std::move(client));
}

}  // namespace keyfs
