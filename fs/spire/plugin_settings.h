// The configuration of the plugin, as SPIRE passes it on: the names that SPIRE's own aws_kms has,
// and ours. README has them all.
//
// Thread-safety: plain values. Ownership: the settings' secret lives in the arena. Blocking:
// read_settings() never; settle_files() touches the disk. Errors: all mistakes at once, each a
// sentence that names the setting; none quotes a secret.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

struct SpireSettings {
  enum class Custody { kKms, kWrapped };

  std::string trust_domain;  // "example.org"
  Custody custody = Custody::kKms;
  std::vector<std::string> regions;  // of AWS; the first is the primary
  std::string endpoint;
  bool allow_plain_http = false;
  std::string identifier_file;   // one of the two
  std::string identifier_value;  // without slashes at its ends, and none twice
  std::string access_key_id;
  SecretBytes secret_access_key;
  std::string policy_file;
  std::vector<std::pair<std::string, std::string>> tags;
  std::string state_dir = "/var/lib/keyfs-spire";
  std::string config = "/etc/keyfs/keyfs.ini";  // for kWrapped
  Duration grace = std::chrono::hours(1);

  // By settle_files():
  std::string server;  // the identifier in use; before it, of `identifier_value`
  std::string policy;  // JSON; empty: KMS's default
};

struct ReadSettings {
  SpireSettings settings;
  std::vector<std::string> mistakes;  // empty: the settings can be used
};

// What can be told from the text alone.
ReadSettings read_settings(SecretArena& arena, const std::string& trust_domain,
                           std::string_view hcl);

// Reads the files that the settings name; mistakes are added. `makes`: an identifier file that does
// not exist is made, with a new random identifier (otherwise it is only looked whether it could be).
void settle_files(ReadSettings& read, bool makes);

// One text for all.
std::string together(const std::vector<std::string>& mistakes);

// "alias/SPIRE_SERVER/example_org/", and with the server's identifier: as aws_kms writes them, so
// that each goes on with the keys of the other.
std::string alias_prefix_of_domain(const SpireSettings& settings);
std::string alias_prefix_of_server(const SpireSettings& settings);
std::string description_prefix(const SpireSettings& settings);
// As SPIRE's own plugin writes it, before the key's id.
std::string former_description_prefix(const SpireSettings& settings);

// "30s", "1h"; nullopt for anything else.
std::optional<Duration> parse_hcl_duration(std::string_view text);

// A UUID in its usual form, lower case; nullopt if it is none. White space around it is ignored.
std::optional<std::string> parse_uuid(std::string_view text);

}  // namespace keyfs
