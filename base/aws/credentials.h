// AWS credentials, found as every AWS tool finds them, kept in locked memory and renewed in time.
//
// The order (the first that is configured decides; it failing is an error, not a reason to go on):
//   1. the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//   2. web identity: AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN (EKS service accounts)
//   3. the profile (AWS_PROFILE, or "default") in the shared credentials and config files: keys,
//      role_arn with source_profile or credential_source, web_identity_token_file,
//      credential_process
//   4. the container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI (ECS, EKS Pod Identity)
//   5. the instance: IMDSv2, unless AWS_EC2_METADATA_DISABLED is true
// A profile named in keyfs's configuration, or by AWS_PROFILE, goes before the environment's keys
// only in the first case, as with the AWS command line's --profile. A `role_arn` in keyfs's
// configuration is assumed (STS AssumeRole) with whatever the order gives.
//   https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
//
// Thread-safety: none; on the loop's thread. Ownership: what is given to create() outlives the
// provider, the provider outlives its tasks. Blocking: never; files are read and processes are
// waited for on the worker.
// Errors: kUnauthenticated when there are none or they are refused or malformed: the message says
// what was looked for and what to do; kInvalid for a profile that contradicts itself;
// kUnavailable and kTimeout when the one who gives them cannot be reached. Messages never hold a
// secret, nor text from a reply, a file or a process.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/aws/signer.h"
#include "base/clock.h"
#include "base/environment.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "base/worker.h"

namespace keyfs {

struct AwsCredentialOptions {
  std::string profile;   // of keyfs's configuration; empty: AWS_PROFILE, or "default"
  std::string role_arn;  // to assume with what was found; empty: none
  // Whose STS is asked, one after the other should they fail: AWS_REGION's and the profile's go
  // before; us-east-1's is asked when there is none at all.
  std::vector<std::string> sts_regions;
  std::string home;  // where .aws/ is looked for; empty: HOME
};

// One way to get credentials. Internal to the provider, and to tests.
class AwsCredentialSource {
 public:
  virtual ~AwsCredentialSource() = default;
  // For messages, and only known after a fetch for some: "the profile payments".
  virtual std::string name() const = 0;
  virtual Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) = 0;
};

class AwsCredentialProvider {
 public:
  // `direct` asks the metadata services of container and instance, which no proxy must see, and
  // `http` STS. Decides nothing yet: the environment and the files are looked at when credentials
  // are first asked for, and again whenever they are renewed.
  AwsCredentialProvider(HttpClient& http, HttpClient& direct, Worker& worker,
                        Environment environment, AwsCredentialOptions options);
  // With a source of the test's.
  AwsCredentialProvider(HttpClient& http, std::unique_ptr<AwsCredentialSource> source);
  ~AwsCredentialProvider();
  AwsCredentialProvider(const AwsCredentialProvider&) = delete;
  AwsCredentialProvider& operator=(const AwsCredentialProvider&) = delete;

  // The current ones. Many callers share one fetch. Within five minutes of their end new ones are
  // fetched in the background while the old ones are still given out; should that fail, until they
  // really end.
  Task<Result<AwsCredentialsPtr>> get(TimePoint deadline);

  // AWS refused `used` as expired or unknown: the next get() fetches new ones, unless that has
  // happened since.
  void refused(const AwsCredentialsPtr& used);

  // One more region whose STS may be asked, so that no one region's outage ends the credentials of
  // all.
  void add_sts_region(const std::string& region);

  // Where the current ones come from, for `keyfs check`; empty before the first fetch.
  const std::string& origin() const { return origin_; }

 private:
  using Flight = SingleFlight<Result<AwsCredentialsPtr>>;

  Task<Result<AwsCredentialsPtr>> join();
  Task<Result<AwsCredentialsPtr>> renew();
  void renew_in_background();

  Loop& loop_;
  std::shared_ptr<std::vector<std::string>> sts_regions_;  // shared with the source
  std::unique_ptr<AwsCredentialSource> source_;
  AwsCredentialsPtr current_;
  bool refused_ = false;  // `current_` is
  TimePoint next_renewal_{};
  std::optional<Error> failure_;  // of the last fetch, given again for a second
  TimePoint failed_at_{};
  std::string origin_;
  Flight flights_;
  TaskGroup<Result<AwsCredentialsPtr>> background_;
  size_t background_number_ = 0;
};

}  // namespace keyfs
