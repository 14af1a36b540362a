// The shared config and credentials files of AWS tools, read as botocore reads them.
//   https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
// Profiles are "[default]" and "[profile NAME]" in the config file, "[NAME]" in the credentials
// file, whose entries take precedence over the config file's. Entries are "name = value" or "name:
// value"; names may be written in upper case and lines may be indented; a line indented further
// than its entry continues the value. "#" and ";" begin a comment only at the start of a line. A
// duplicate section or entry in a file is an error.
//
// Thread-safety: plain values. Blocking: only read_aws_profiles(). Errors: kInvalid with file and
// line for a malformed line.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/environment.h"
#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

// An access key comes from one file as a whole, never from parts of two.
struct AwsProfileKeys {
  std::optional<std::string> access_key_id;
  SecretBytes secret_access_key;
  SecretBytes session_token;   // aws_session_token
  SecretBytes security_token;  // aws_security_token, its old name, which takes precedence
  bool has_secret = false;

  bool any() const { return access_key_id || has_secret; }
};

struct AwsProfile {
  std::map<std::string, std::string> settings;  // of both files; everything not below
  AwsProfileKeys in_credentials;
  AwsProfileKeys in_config;

  // Empty if it is not set.
  const std::string& get(const std::string& name) const;
};
using AwsProfiles = std::map<std::string, AwsProfile>;

struct AwsProfileFiles {
  std::string config;
  std::string credentials;
};
// AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE, where "~/" means the home directory, or
// .aws/config and .aws/credentials in `home` (HOME, if it is empty).
AwsProfileFiles aws_profile_files(const Environment& environment, const std::string& home);

// Both files; a missing one counts as empty, kUnavailable for one that cannot be read. Blocks on
// the disk: call it on a worker.
Result<AwsProfiles> read_aws_profiles(SecretArena& arena, const AwsProfileFiles& files);

// Adds one file's profiles; existing settings are overwritten one by one.
Result<void> parse_aws_profiles(SecretArena& arena, std::string_view text,
                                const std::string& file_name, bool is_config,
                                AwsProfiles& profiles);

}  // namespace keyfs
