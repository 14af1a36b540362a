// The [rotation] section of the configuration, with types and defaults. Rotation itself is asked for
// by the commands, and by rotate_every and retire_after in [keys ...] (fs/policy/policy.h).
//
// Thread-safety: plain values. Blocking: never; webhook_file is not opened. Errors: kInvalid, one
// line with file and line (base/config.h).
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/config.h"
#include "base/result.h"

namespace keyfs {

struct RotationSettings {
  using Milliseconds = std::chrono::milliseconds;

  bool run = true;                                 // this host may hold the lock
  Milliseconds settle = std::chrono::seconds(30);  // tickets within this become one run
  // Where the store cannot announce changes: between two looks at the pulse, give or take a fifth.
  Milliseconds poll_every = std::chrono::seconds(30);
  unsigned pulse_shards = 1;  // copies of the pulse; the same on all hosts
  unsigned parallel = 1;      // hooks at once, in the last wave
  // Of a run's consumers; failed, they stop it. None: a run goes on whatever fails.
  std::optional<unsigned> stop_after_percent = 20;
  std::string webhook_file;  // absolute; empty: nobody is told
};

// The defaults if the file has no such section.
Result<RotationSettings> read_rotation_settings(const ConfigFile& file);

// The section with every default filled in, as lines of a configuration file. `webhook_file` is a
// path, and no secret.
std::string rotation_settings_text(const RotationSettings& settings);

}  // namespace keyfs
