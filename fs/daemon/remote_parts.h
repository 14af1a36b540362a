// What only regions and stores on the network need: HTTP clients, AWS credentials. Created with the
// first of them, so that an embedded mount loads no CA bundle.
//
// The process's environment is used as by AWS's own tools: AWS_*, and the proxies https_proxy for
// https://, http_proxy for http:// and no_proxy (the first and the last also in upper case);
// AWS_CA_BUNDLE names the certificates to trust instead of the system's.
//
// Thread-safety: on the loop's thread, or before it runs. Ownership: refers to its parts, and
// outlives every region and store that it created. Blocking: the first of the two that is called
// reads the CA bundle.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/aws/credentials.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "kms/region.h"
#include "kms/signing/kms_custody.h"
#include "store/store.h"

namespace keyfs {

// AWS regions that sign, all with the same credentials and kind of endpoint.
struct SigningRegionsRequest {
  std::vector<std::string> regions;  // "us-east-1"; the first is the primary
  std::string endpoint;              // empty: as base/aws/endpoint.h finds it
  bool allow_plain_http = false;
  std::string profile;
  std::string role_arn;
  // Instead of those that are found (base/aws/credentials.h); null: those.
  AwsCredentialsPtr credentials;
};

class RemoteParts {
 public:
  RemoteParts(Loop& loop, CurlPoller& poller, SecretArena& arena, Random& random);
  ~RemoteParts();
  RemoteParts(const RemoteParts&) = delete;
  RemoteParts& operator=(const RemoteParts&) = delete;

  // Contact nobody. kInvalid with file and line (base/config.h), or for a CA bundle that cannot be
  // read.
  Result<std::unique_ptr<Region>> aws_region(const ConfigSection& section);
  Result<std::unique_ptr<Store>> dynamodb_store(const ConfigSection& section,
                                                const std::string& state_dir);

  // For kms/signing/kms_custody.h; asks nobody. kInvalid for a region or an endpoint that is none, or
  // a CA bundle that cannot be read.
  Result<std::vector<KmsSigningRegion>> signing_regions(const SigningRegionsRequest& request);

  // For what is not AWS's: webhooks. The system's certificates, and the environment's proxies. Blocks
  // while it reads the certificates.
  Result<std::unique_ptr<HttpClient>> web_client();

  // Sets who receives warnings about faults that do not stop anything.
  void on_warning(std::function<void(const std::string&)> warn) { warn_ = std::move(warn); }

 private:
  struct Aws;
  Result<Aws*> aws();

  Loop& loop_;
  CurlPoller& poller_;
  SecretArena& arena_;
  Random& random_;
  std::function<void(const std::string&)> warn_;
  std::unique_ptr<Aws> aws_;
};

}  // namespace keyfs
