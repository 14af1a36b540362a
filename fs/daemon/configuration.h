// The configuration that a command works with: a file, or what `--embedded DIR` stands for.
//
// Thread-safety: plain values. Blocking: reads files, asks the user database. Errors: kInvalid, one
// line with file and line; kUnavailable when a directory or master can't be made.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/crypto.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/daemon/settings.h"
#include "fs/policy/policy.h"

namespace keyfs {

inline constexpr const char* kDefaultConfig = "/etc/keyfs/keyfs.ini";

struct ConfigurationSource {
  std::string config = kDefaultConfig;
  std::string embedded;  // a directory; empty: `config` is it
};

struct Configuration {
  ConfigFile file;
  Settings settings;
  std::unique_ptr<const Policy> policy;
  std::string embedded;  // the directory, absolute; empty: `file` was read
};

// From the working directory, without trailing slashes; "..", "." and links in it stay.
std::string absolute_path(const std::string& path);

// Checks all of it but the sections of store and regions, which those who build them check.
Result<Configuration> load_configuration(const ConfigurationSource& source);

// What a running daemon does not take over: the names of the keys outside of [keys ...] and [admin]
// that differ, as "fresh_for" or "[store] path", in the order of the file. Filled-in defaults count
// as written.
std::vector<std::string> needs_restart(const Configuration& before, const Configuration& after);

// Makes what --embedded needs and is not there: the directory (mode 0700) and the masters. A master
// is made only as long as there is no store: one that was lost later is not replaced, since the
// keys it wrapped would stay lost without a word.
Result<void> prepare_embedded(const Configuration& configuration, SecretArena& arena,
                              Random& random);
// The directory is there, is ours, and nobody else can write to it.
Result<void> check_embedded(const Configuration& configuration);

// The configuration in force, defaults filled in, as the text of a configuration file.
std::string effective_text(const Configuration& configuration);

}  // namespace keyfs
