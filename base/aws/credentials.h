// AWS credentials, found as every AWS tool finds them, kept in locked memory and renewed in time.
//
// The order is botocore's (the first that is configured is used; if it fails, that is an error, and
// no other is tried); the profile is AWS_PROFILE, or "default", of the shared files:
//   1. the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//   2. the profile's role_arn with source_profile or credential_source
//   3. web identity: AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN (EKS service accounts), then the
//      profile's web_identity_token_file and role_arn
//   4. the profile's keys in the credentials file
//   5. the profile's credential_process
//   6. the profile's keys in the config file
//   7. the container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI (ECS, EKS Pod Identity)
//   8. the instance: IMDSv2, unless AWS_EC2_METADATA_DISABLED is true
// A profile named in keyfs's configuration takes precedence over the environment's keys and web
// identity, as with the AWS command line's --profile; AWS_PROFILE does not. A `role_arn` in keyfs's
// configuration is assumed (STS AssumeRole) with the credentials found in this order.
//   https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
//
// Thread-safety: none; on the loop's thread. Ownership: the arguments of create() outlive the
// provider, the provider outlives its tasks. Blocking: never; reading files and waiting for
// processes happens on the provider's own thread, so that one that hangs holds up no other. Errors:
// see get(). Messages never hold a secret, nor text from a reply, a file or a process.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/aws/signer.h"
#include "base/clock.h"
#include "base/environment.h"
#include "base/http.h"
#include "base/lazy_worker.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"

namespace keyfs {

struct AwsCredentialOptions {
  std::string profile;   // of keyfs's configuration; empty: AWS_PROFILE, or "default"
  std::string role_arn;  // to assume with the credentials found; empty: none
  // Regions whose STS is used, in this order if some fail. AWS_REGION and the profile's region come
  // first; us-east-1 is used if there is none at all.
  std::vector<std::string> sts_regions;
  std::string home;  // where .aws/ is looked for; empty: HOME
  // Called with warnings about faults that do not stop it; may be empty.
  std::function<void(const std::string& message)> warn;
};

// One way to get credentials. Internal to the provider, and to tests.
class AwsCredentialSource {
 public:
  virtual ~AwsCredentialSource() = default;
  // For messages; some sources know it only after a fetch: "the profile payments".
  virtual std::string name() const = 0;
  // New ones each time. Errors as AwsCredentialProvider::get()'s.
  virtual Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) = 0;
  // Whether credentials may be used after their expiration while the source has nothing newer: IMDS
  // documents this, and keeps returning old ones while EC2 cannot renew them.
  virtual bool good_past_expiration() const { return false; }
};

class AwsCredentialProvider {
 public:
  // `direct` is for the metadata services of container and instance, which must not go through a
  // proxy; `http` is for STS. Reads nothing yet: the environment and the files are read when
  // credentials are first needed, and again at each renewal.
  AwsCredentialProvider(HttpClient& http, HttpClient& direct, Environment environment,
                        AwsCredentialOptions options);
  // With a source supplied by a test.
  AwsCredentialProvider(HttpClient& http, std::unique_ptr<AwsCredentialSource> source);
  ~AwsCredentialProvider();
  AwsCredentialProvider(const AwsCredentialProvider&) = delete;
  AwsCredentialProvider& operator=(const AwsCredentialProvider&) = delete;

  // The current credentials. Concurrent callers share one fetch. From five minutes before
  // expiration, new ones are fetched in the background while the old ones stay in use, until they
  // expire if that fails. Errors: kUnauthenticated if there are none, or they are refused or
  // malformed: the message says where they were looked for and what to do; kInvalid for a profile
  // that contradicts itself; kUnavailable and kTimeout if their source cannot be reached. A failure
  // is repeated for a second without asking again.
  Task<Result<AwsCredentialsPtr>> get(TimePoint deadline);

  // AWS refused `used` as expired or unknown: the next get() fetches new ones, unless that has
  // already happened.
  void refused(const AwsCredentialsPtr& used);

  // Adds a region whose STS may be used, so that the outage of one region does not end all
  // credentials.
  void add_sts_region(const std::string& region);

  // Permits plain HTTP to an STS on another machine.
  void allow_plain_http() { allow_plain_http_ = true; }

  // The source of the current credentials, for `keyfs check`; empty before the first fetch.
  const std::string& origin() const { return origin_; }

 private:
  using Flight = SingleFlight<Result<AwsCredentialsPtr>>;

  Task<Result<AwsCredentialsPtr>> join();
  Task<Result<AwsCredentialsPtr>> renew();
  void renew_in_background();
  void warn_expired();  // when expired ones stay in use

  Loop& loop_;
  std::shared_ptr<std::vector<std::string>> sts_regions_;  // shared with the source
  bool allow_plain_http_ = false;
  std::function<void(const std::string&)> warn_;
  std::unique_ptr<LazyWorker> worker_;  // the source's
  std::unique_ptr<AwsCredentialSource> source_;
  AwsCredentialsPtr current_;
  bool refused_ = false;  // `current_` is
  TimePoint next_renewal_{};
  std::optional<Error> failure_;  // of the last fetch, repeated for a second
  TimePoint failed_at_{};
  std::string origin_;
  Flight flights_;
  TaskGroup<Result<AwsCredentialsPtr>> background_;
  size_t background_number_ = 0;
};

}  // namespace keyfs
