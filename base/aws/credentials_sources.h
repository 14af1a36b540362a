// The ways to get AWS credentials, each a source. Internal to base/aws/credentials*.cc.
//
// Thread-safety, blocking, errors: as in base/aws/credentials.h. Arguments passed by reference
// outlive the sources and their tasks.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/aws/clock.h"
#include "base/aws/credentials.h"
#include "base/aws/profile.h"
#include "base/aws/signer.h"
#include "base/environment.h"
#include "base/http.h"
#include "base/lazy_worker.h"

namespace keyfs {

using AwsCredentialSourcePtr = std::unique_ptr<AwsCredentialSource>;

// What the sources need from outside.
struct AwsSourceParts {
  HttpClient& http;    // STS
  HttpClient& direct;  // container and instance
  LazyWorker& worker;
  Environment environment;
  std::vector<std::string> sts_regions;  // at least one
  AwsClock& clock;                       // corrected by STS's replies
  const bool& allow_plain_http;          // for STS on another machine
};

// Keys that are already known.
AwsCredentialSourcePtr given_credentials(std::string name, AwsCredentialsPtr credentials);

struct AwsRole {
  std::string arn;
  std::string session_name = "keyfs";  // in CloudTrail
  std::string external_id;
  int duration_seconds = 3600;
};
// STS AssumeRole, signed with the credentials from `base`.
AwsCredentialSourcePtr assumed_role(AwsSourceParts& parts, AwsRole role,
                                    AwsCredentialSourcePtr base);
// STS AssumeRoleWithWebIdentity, with the token in a file that is read each time.
AwsCredentialSourcePtr web_identity(AwsSourceParts& parts, AwsRole role, std::string token_file);
// AWS_ACCESS_KEY_ID and related variables; null if it is not set.
Result<AwsCredentialSourcePtr> environment_credentials(AwsSourceParts& parts);
// The service of ECS and EKS Pod Identity; null if neither of the two variables is set.
Result<AwsCredentialSourcePtr> container_credentials(AwsSourceParts& parts);
AwsCredentialSourcePtr instance_credentials(AwsSourceParts& parts);
// The command of a credential_process, split by base/aws/shell_words.h and run without a shell.
AwsCredentialSourcePtr process_credentials(AwsSourceParts& parts, std::string profile,
                                           std::string command);

// The source that a profile describes, or the environment's web identity if that takes precedence;
// null if there are no credentials. A missing profile counts as empty.
Result<AwsCredentialSourcePtr> profile_credentials(AwsSourceParts& parts, AwsProfiles& profiles,
                                                   const std::string& name, bool with_environment);

// Checks and assembles what a source returned. `expires` as text (RFC 3339, also with an offset
// and a fraction); empty: they do not expire. `who` for messages.
Result<AwsCredentialsPtr> make_credentials(const std::string& who, std::string access_key_id,
                                           SecretBytes secret_access_key, SecretBytes session_token,
                                           std::string_view expires);

// The JSON that container, instance and processes answer with; the token's name differs.
Result<AwsCredentialsPtr> parse_credentials_json(SecretArena& arena, const std::string& who,
                                                 std::string_view text,
                                                 std::string_view token_name);
// The XML that STS answers with.
Result<AwsCredentialsPtr> parse_sts_credentials(SecretArena& arena, const std::string& who,
                                                std::string_view xml);

}  // namespace keyfs
