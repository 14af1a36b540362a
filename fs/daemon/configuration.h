// The configuration of a command: a file, or what `--embedded DIR` stands for.
//
// Thread-safety: plain values. Blocking: what loads, prepares or checks touches the disk.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/crypto.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/daemon/settings.h"
#include "fs/daemon/signing_settings.h"
#include "fs/policy/policy.h"
#include "fs/rotation/consumer_rules.h"
#include "fs/rotation/settings.h"

namespace keyfs {

inline constexpr const char* kDefaultConfig = "/etc/keyfs/keyfs.ini";

struct ConfigurationSource {
  std::string config = kDefaultConfig;
  std::string embedded;  // a directory; empty: use `config`
};

struct Configuration {
  ConfigFile file;
  Settings settings;
  RotationSettings rotation;
  std::unique_ptr<const Policy> policy;
  std::string embedded;  // the directory, absolute; empty: `file` was read
  ConsumerRules consumers{};
  SigningSettings signing{};
};

// From the working directory, without trailing slashes; "..", "." and links in it stay.
std::string absolute_path(const std::string& path);

// Reads the file and queries the user database. Checks everything except the sections of store and
// regions, which are checked when those are built. kInvalid, one line with file and line.
Result<Configuration> load_configuration(const ConfigurationSource& source);

// Of [store] type = sqlite; "" without one.
std::string store_file(const Configuration& configuration);

// Whether it uses no network.
bool all_local(const ConfigFile& file);

// What a running daemon does not apply: the names of settings outside of [keys ...], [sign ...],
// [consumer ...] and [admin] that differ, as "fresh_for" or "[store] path", in file order. Defaults
// count as written. "[sign ...]": only one of the two has such a section.
std::vector<std::string> needs_restart(const Configuration& before, const Configuration& after);

// Creates what --embedded needs and does not exist: the directory (mode 0700) and the masters. A
// master is created only while there is no store: one that is lost later is not replaced, since
// that would hide the loss of the keys that it wrapped. kUnavailable if something can't be created,
// and check_embedded()'s errors.
Result<void> prepare_embedded(const Configuration& configuration, SecretArena& arena,
                              Random& random);
// Checks that the directory exists, is ours, and nobody else can write to it; kInvalid otherwise.
Result<void> check_embedded(const Configuration& configuration);

// The configuration in force, with defaults filled in, as the text of a configuration file.
std::string effective_text(const Configuration& configuration);

}  // namespace keyfs
