// The [signing] section of the configuration: where signing keys are kept, and how long what is
// replaced stays. Which keys anybody may use is said by [sign GLOB] (fs/policy/sign_policy.h).
//
// Thread-safety: plain values. Blocking: never; key_policy_file is not opened. Errors: kInvalid, one
// line with file and line (base/config.h).
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/config.h"
#include "base/result.h"

namespace keyfs {

struct SigningSettings {
  using Milliseconds = std::chrono::milliseconds;

  std::string custody = "wrapped";   // of a new key: "wrapped" or "kms"
  std::string name = "default";      // in the aliases of KMS: alias/KEYFS/NAME/ID
  std::vector<std::string> regions;  // AWS's, for custody kms; the first is the primary
  std::string key_policy_file;       // absolute; empty: KMS's own
  std::vector<std::pair<std::string, std::string>> key_tags;
  std::string endpoint;  // empty: AWS's
  std::string profile, role_arn;
  bool allow_plain_http = false;
  unsigned keys_per_hour = 20;
  Milliseconds grace = std::chrono::hours(1);
  Milliseconds list_every = std::chrono::minutes(5);

  // "alias/KEYFS/NAME/", "KEYFS_SIGN/NAME/"
  std::string alias_prefix() const { return "alias/KEYFS/" + name + "/"; }
  std::string description_prefix() const { return "KEYFS_SIGN/" + name + "/"; }
};

// The defaults if the file has no such section.
Result<SigningSettings> read_signing_settings(const ConfigFile& file);

// Whether there are signing keys for anybody: a [sign GLOB] section.
bool signs(const ConfigFile& file);

// The section with every default filled in, as lines of a configuration file. Nothing in it is
// secret.
std::string signing_settings_text(const SigningSettings& settings);

}  // namespace keyfs
