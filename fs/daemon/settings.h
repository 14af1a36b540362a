// The [keyfs] section of the configuration, with types and defaults, and the configuration of a
// mount that needs none.
//
// Thread-safety: plain values. Blocking: never. Errors: Code::kInvalid, one line with file and line
// (base/config.h).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/config.h"
#include "base/log.h"
#include "base/result.h"

namespace keyfs {

enum class AuditTo { kOff, kJournal, kFile };

struct Settings {
  using Milliseconds = std::chrono::milliseconds;

  std::string state_dir = "/var/lib/keyfs";  // the replica, node ids; never plaintext
  uint32_t key_bytes = 32;                   // of a new key
  Milliseconds fresh_for = std::chrono::minutes(5);
  Milliseconds serve_stale_for = std::chrono::hours(24);
  Milliseconds open_deadline = std::chrono::seconds(10);
  size_t create_min_regions = 2;  // capped at the number of regions when it is not set

  AuditTo audit_to = AuditTo::kJournal;
  std::string audit_path;             // for kFile
  bool audit_group_readable = false;  // mode 0640 instead of 0600
  bool audit_required = false;        // no key is handed out whose line can't be kept

  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kLogfmt;

  // Keys in the cache; beyond it the least used ones are wiped.
  size_t cache_keys = 1'000'000;
  // Opens that wait for a store or a region at once; beyond it they get EAGAIN.
  size_t waiting_opens = 16'384;
  // Keys that one user may make; ten times as many after a quiet while. Beyond it: EAGAIN.
  unsigned creates_per_second = 50;
  // How long a directory listing is reused.
  Milliseconds list_cache_for = std::chrono::seconds(2);
  // What the healer may ask of all regions together.
  unsigned heal_calls_per_second = 5;
};

// [keyfs] of the file, or the defaults when it has none. With `regions` configured regions, a
// create_min_regions beyond them is a mistake; the default is min(2, regions).
Result<Settings> read_settings(const ConfigFile& file, size_t regions);

// The sections that a configuration of keyfs may have: [keyfs], [store], [region NAME],
// [keys GLOB], [admin]. An error for any other.
Result<void> check_sections(const ConfigFile& file);

// What `--embedded DIR` stands for, as the text of a configuration: SQLite and three local regions
// under `dir` (absolute, without a trailing slash); `user` may read and create every key and is the
// admin. kInvalid when the path cannot be written in a configuration (control characters, " ;").
Result<std::string> embedded_config(const std::string& dir, uid_t user);

}  // namespace keyfs
