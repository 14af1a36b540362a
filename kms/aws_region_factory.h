// Creates AWS regions from their sections.
//
//   [region us-east-1]
//   type = aws
//   key = alias/keyfs        ; id, ARN or alias of a symmetric master key
//   ; aws_region = ...       ; if NAME is not the AWS region
//   ; endpoint = http://...  ; host and port only
//   ; allow_plain_http = yes ; permits http:// to other machines
//   ; profile = ...          ; in ~/.aws/config and ~/.aws/credentials
//   ; role_arn = ...         ; assumed with the credentials found
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: owns the credential
// providers, which its regions share (one for each profile and role): it must outlive the regions.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/aws/client.h"
#include "base/aws/credentials.h"
#include "base/config.h"
#include "base/environment.h"
#include "base/http.h"
#include "kms/region.h"

namespace keyfs {

// How KMS is reached in a region; empty: AWS's own, and what the environment says.
struct KmsAccess {
  std::string region;
  std::string endpoint;
  std::string profile, role_arn;
  bool allow_plain_http = false;
};

class AwsRegionFactory {
 public:
  // `direct` is a client without a proxy, for the metadata services of container and instance.
  // `warn` is as in AwsCredentialOptions.
  AwsRegionFactory(HttpClient& http, HttpClient& direct, Environment environment,
                   std::function<void(const std::string&)> warn = {});
  ~AwsRegionFactory();
  AwsRegionFactory(const AwsRegionFactory&) = delete;
  AwsRegionFactory& operator=(const AwsRegionFactory&) = delete;

  // The region of one section; asks nobody. kInvalid with file and line (base/config.h).
  Result<std::unique_ptr<Region>> make(const ConfigSection& section);

  // A client of KMS, for what is no region of data keys; asks nobody. kInvalid: what is wrong with
  // the endpoint, and whose it is (base/aws/endpoint.h).
  Result<std::unique_ptr<AwsClient>> client(const KmsAccess& access);

  // What is used where no profile and no role is named, instead of what is found. Before the first
  // client.
  void use_credentials(AwsCredentialsPtr credentials);

  // The credentials for the configuration's `profile` and `role_arn` (may be empty); shared by all
  // sections that name the same, the store's included.
  AwsCredentialProvider& credentials(const std::string& profile, const std::string& role_arn);

 private:
  std::unique_ptr<AwsClient> client_at(const std::string& url, const KmsAccess& access);

  HttpClient& http_;
  HttpClient& direct_;
  Environment environment_;
  std::function<void(const std::string&)> warn_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<AwsCredentialProvider>> providers_;
};

}  // namespace keyfs
