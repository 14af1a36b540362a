// The [rotation] section of the configuration, with types and defaults. Rotation itself is asked for
// by the commands, and by rotate_every and retire_after in [keys ...] (fs/policy/policy.h).
//
// Thread-safety: plain values. Blocking: never; webhook_file is not opened. Errors: kInvalid, one
// line with file and line (base/config.h).
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include "base/config.h"
#include "base/result.h"

namespace keyfs {

// After how many failures a run is stopped.
struct StopAfter {
  static constexpr unsigned kInARow = 5;
  unsigned percent = 20;  // of all consumers of the run

  // `failed` of `consumers` in all, `in_a_row` since the last that did not fail. One failure alone
  // stops no run, however few consumers there are.
  bool reached(size_t failed, size_t in_a_row, size_t consumers) const {
    return in_a_row >= kInARow || (failed > 1 && failed * 100 >= consumers * percent);
  }
};

struct RotationSettings {
  using Milliseconds = std::chrono::milliseconds;

  bool run = true;                                 // this host may hold the lock
  Milliseconds settle = std::chrono::seconds(30);  // tickets within this become one run
  // Where the store cannot announce changes: between two looks at the pulse, give or take a fifth.
  Milliseconds poll_every = std::chrono::seconds(30);
  unsigned parallel = 1;                              // hooks at once, in the last wave
  std::optional<StopAfter> stop_after = StopAfter();  // none: a run goes on whatever fails
  std::string webhook_file;                           // absolute; empty: nobody is told
  bool keep_hook_output = false;  // the end of what a failed hook wrote goes into the report
};

// The defaults if the file has no such section.
Result<RotationSettings> read_rotation_settings(const ConfigFile& file);

// The section with every default filled in, as lines of a configuration file. `webhook_file` is a
// path, and no secret.
std::string rotation_settings_text(const RotationSettings& settings);

}  // namespace keyfs
