// The shared config and credentials files of AWS tools.
//   https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
// Profiles are "[default]" and "[profile NAME]" in the config file, "[NAME]" in the credentials
// file, whose entries go before the config file's. Other sections and nested entries are skipped.
//
// Thread-safety: plain values. Blocking: read_aws_profiles reads two files; on a worker. Errors:
// kInvalid with file and line for a line that is none of the format; kUnavailable for a file that
// is there and cannot be read. A file that is not there is an empty one.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/environment.h"
#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

struct AwsProfile {
  std::map<std::string, std::string> settings;  // all that is not below
  SecretBytes secret_access_key;
  SecretBytes session_token;

  // Empty when it is not set.
  const std::string& get(const std::string& name) const;
};
using AwsProfiles = std::map<std::string, AwsProfile>;

struct AwsProfileFiles {
  std::string config;
  std::string credentials;
};
// AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE, or .aws/config and .aws/credentials in `home`
// (HOME, when it is empty).
AwsProfileFiles aws_profile_files(const Environment& environment, const std::string& home);

Result<AwsProfiles> read_aws_profiles(SecretArena& arena, const AwsProfileFiles& files);

// Adds one file's profiles; those that are there already are overwritten entry by entry.
Result<void> parse_aws_profiles(SecretArena& arena, std::string_view text,
                                const std::string& file_name, bool is_config,
                                AwsProfiles& profiles);

}  // namespace keyfs
