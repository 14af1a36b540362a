// The [keyfs] section of the configuration, with types and defaults, and the configuration of a
// mount that needs none.
//
// Thread-safety: plain values. Blocking: never. Errors: kInvalid, one line with file and line
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
  uint32_t key_bytes = 32;                   // for new keys
  Milliseconds fresh_for = std::chrono::minutes(5);
  Milliseconds serve_stale_for = std::chrono::hours(24);
  Milliseconds open_deadline = std::chrono::seconds(10);
  size_t create_min_regions = 2;  // if not set, capped at the number of regions

  AuditTo audit_to = AuditTo::kJournal;
  std::string audit_path;             // for kFile
  bool audit_group_readable = false;  // mode 0640 instead of 0600
  bool audit_required = false;        // do not hand out a key whose line can't be kept

  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kLogfmt;

  // Keys in the cache; beyond that the least recently used are wiped.
  size_t cache_keys = 1'000'000;
  // Opens waiting for a store or a region; further ones get EAGAIN.
  size_t waiting_opens = 16'384;
  // Keys that one user may create per second; a burst may be ten times as large. Beyond that:
  // EAGAIN.
  unsigned creates_per_second = 50;
  // How long a directory listing is reused.
  Milliseconds list_cache_for = std::chrono::seconds(2);
  // Calls per second to all regions together that nobody waits for: healing, rewrapping.
  unsigned background_calls_per_second = 5;
};

// [keyfs] of the file, or the defaults if it has none. A create_min_regions above `regions`, the
// number configured, is a mistake; the default is min(2, regions).
Result<Settings> read_settings(const ConfigFile& file, size_t regions);

// Checks for unknown sections. Allowed are [keyfs], [store], [region NAME], [rotation],
// [signing], [consumer NAME], [keys GLOB], [sign GLOB], [admin].
Result<void> check_sections(const ConfigFile& file);

// The configuration for `--embedded DIR`, as text: SQLite and three local regions under `dir`
// (absolute, without a trailing slash); `user` may read and create every key, use and make every
// signing key, and is the admin.
// kInvalid if the path cannot be written in a configuration (control characters, " ;").
Result<std::string> embedded_config(const std::string& dir, uid_t user);

}  // namespace keyfs
