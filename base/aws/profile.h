// The shared config and credentials files of AWS tools, read as botocore reads them.
//   https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
// Profiles are "[default]" and "[profile NAME]" in the config file, "[NAME]" in the credentials
// file, whose entries go before the config file's. Entries are "name = value" or "name: value";
// names may be written in upper case and lines may be indented; a line that is indented further
// than its entry goes on with the value. "#" and ";" begin a comment at the start of a line only.
// A section or an entry that stands twice in a file is an error.
//
// Thread-safety: plain values. Blocking: read_aws_profiles reads two files; on a worker. Errors:
// kInvalid with file and line for a line that is none of the format; kUnavailable for a file that
// is there and cannot be read. A file that is not there is an empty one.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/environment.h"
#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

// An access key is taken from one file as a whole, never put together from two.
struct AwsProfileKeys {
  std::optional<std::string> access_key_id;
  SecretBytes secret_access_key;
  SecretBytes session_token;   // aws_session_token
  SecretBytes security_token;  // aws_security_token, its old name, which goes before
  bool has_secret = false;

  bool any() const { return access_key_id || has_secret; }
};

struct AwsProfile {
  std::map<std::string, std::string> settings;  // of both files; all that is not below
  AwsProfileKeys in_credentials;
  AwsProfileKeys in_config;

  // Empty when it is not set.
  const std::string& get(const std::string& name) const;
};
using AwsProfiles = std::map<std::string, AwsProfile>;

struct AwsProfileFiles {
  std::string config;
  std::string credentials;
};
// AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE, where "~/" is the home, or .aws/config and
// .aws/credentials in `home` (HOME, when it is empty).
AwsProfileFiles aws_profile_files(const Environment& environment, const std::string& home);

Result<AwsProfiles> read_aws_profiles(SecretArena& arena, const AwsProfileFiles& files);

// Adds one file's profiles; settings that are there already are overwritten one by one.
Result<void> parse_aws_profiles(SecretArena& arena, std::string_view text,
                                const std::string& file_name, bool is_config,
                                AwsProfiles& profiles);

}  // namespace keyfs
