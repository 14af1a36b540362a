// Makes the regions of AWS from their sections.
//
//   [region us-east-1]
//   type = aws
//   key = alias/keyfs        ; id, ARN or alias of a symmetric master key
//   ; aws_region = ...       ; when NAME is not AWS's name of the region
//   ; endpoint = http://...  ; host and port only
//   ; allow_plain_http = yes ; http:// also to other machines
//   ; profile = ...          ; of ~/.aws/config and ~/.aws/credentials
//   ; role_arn = ...         ; assumed with what the credentials' order gives
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: owns the credential
// providers, which its regions share (one for each profile and role): it outlives the regions.
// Errors: kInvalid with file and line (base/config.h).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/aws/credentials.h"
#include "base/config.h"
#include "base/environment.h"
#include "base/http.h"
#include "kms/region.h"

namespace keyfs {

class AwsRegionFactory {
 public:
  // `direct` is a client without a proxy, for the metadata services of container and instance.
  // `warn` as AwsCredentialOptions has it.
  AwsRegionFactory(HttpClient& http, HttpClient& direct, Environment environment,
                   std::function<void(const std::string&)> warn = {});
  ~AwsRegionFactory();
  AwsRegionFactory(const AwsRegionFactory&) = delete;
  AwsRegionFactory& operator=(const AwsRegionFactory&) = delete;

  Result<std::unique_ptr<Region>> make(const ConfigSection& section);

  // What the configuration's `profile` and `role_arn` (may be empty) stand for; shared by all that
  // name the same. The store's, too.
  AwsCredentialProvider& credentials(const std::string& profile, const std::string& role_arn);

 private:
  HttpClient& http_;
  HttpClient& direct_;
  Environment environment_;
  std::function<void(const std::string&)> warn_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<AwsCredentialProvider>> providers_;
};

}  // namespace keyfs
