// What only regions and stores on the network need: HTTP clients, AWS credentials. Created with the
// first of them, so that an embedded mount loads no CA bundle.
//
// The process's environment is used as by AWS's own tools: AWS_*, and the proxies https_proxy for
// https://, http_proxy for http:// and no_proxy (the first and the last also in upper case);
// AWS_CA_BUNDLE names the certificates to trust instead of the system's.
//
// Thread-safety: on the loop's thread, or before it runs. Ownership: refers to its parts, and
// outlives every region and store that it created. Blocking: the first of the three that is called
// reads the CA bundle.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/config.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "kms/region.h"
#include "store/store.h"

namespace keyfs {

class AwsClient;        // base/aws/client.h
struct AwsCredentials;  // base/aws/signer.h
struct KmsAccess;       // kms/aws_region_factory.h

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
  // Of [signing], for each of its regions.
  Result<std::unique_ptr<AwsClient>> aws_signing_client(const ConfigSection& section,
                                                        const KmsAccess& access);

  // For a caller without a configuration file. kInvalid: what is wrong.
  Result<std::unique_ptr<AwsClient>> kms_client(const KmsAccess& access);
  // What is used where no profile and no role is named, instead of what is found. Before the first
  // client.
  Result<void> use_credentials(std::shared_ptr<const AwsCredentials> credentials);

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
