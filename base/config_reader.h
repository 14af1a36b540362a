// Reads one section of the configuration, key by key, with types and bounds.
//
// Thread-safety: one thread. Ownership: refers to its section, which must outlive it. Blocking:
// never. Errors: Code::kInvalid, one line with file, line, section and key (base/config.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.h"
#include "base/result.h"

namespace keyfs {

// Each call names a key; a key in the section that was never asked for is unknown. Mistakes are
// collected, and a value of the right type is always returned, so that a caller reads all its keys
// and checks once:
//
//   ConfigReader in(section);
//   options.path = in.required("path");
//   options.timeout = in.duration("timeout", 2s, 1ms, 1h);
//   if (auto ok = in.finish(); !ok) return fail(ok.error());
class ConfigReader {
 public:
  using Milliseconds = std::chrono::milliseconds;

  explicit ConfigReader(const ConfigSection& section) : section_(section) {}

  const ConfigSection& section() const { return section_; }

  std::optional<std::string> string(std::string_view key);
  std::string string(std::string_view key, std::string_view fallback);
  // A missing key is a mistake (and gives an empty string).
  std::string required(std::string_view key);

  // A whole number with its unit: 250ms, 10s, 5m, 24h, 7d.
  std::optional<Milliseconds> duration(std::string_view key, Milliseconds least, Milliseconds most);
  Milliseconds duration(std::string_view key, Milliseconds fallback, Milliseconds least,
                        Milliseconds most);
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most);
  int64_t integer(std::string_view key, int64_t fallback, int64_t least, int64_t most);
  // Bytes: 512, 64k, 16m, 1g; the units are powers of 1024 and may be written K, KiB and so on.
  uint64_t size(std::string_view key, uint64_t fallback, uint64_t least = 0,
                uint64_t most = std::numeric_limits<uint64_t>::max());
  // yes, no, true, false, on, off.
  bool boolean(std::string_view key, bool fallback);
  // Comma separated, blanks around items dropped; an empty or duplicate item is a mistake. Empty if
  // the key is absent.
  std::vector<std::string> list(std::string_view key);
  std::vector<std::string> required_list(std::string_view key);
  // One of the names. Without a fallback the key is required; nullopt on a mistake.
  std::optional<std::string> choice(std::string_view key,
                                    const std::vector<std::string_view>& names);
  std::string choice(std::string_view key, const std::vector<std::string_view>& names,
                     std::string_view fallback);

  // A mistake that the caller found in the value of `key`; reported in order of lines. Of two in
  // the same line the first one is kept.
  void mistake(std::string_view key, std::string_view message);
  // The keys are known but not allowed here: `why` says so, e.g. "is for type = sqlite only".
  void not_here(const std::vector<std::string_view>& keys, std::string_view why);

  // The first mistake by line, including unknown keys. On success all values are valid.
  Result<void> finish();

 private:
  const ConfigSection::Entry* use(std::string_view key);
  void add(int line, Error error);

  const ConfigSection& section_;
  std::vector<std::string> asked_;
  std::optional<std::pair<int, Error>> first_;
};

// The error for a missing `key`: "KEY: is missing: HINT", or, if another key looks like a typo of
// it, that key's line and "unknown key (did you mean KEY?)". For callers that need this key before
// they can use a ConfigReader for the others.
Error missing_key(const ConfigSection& section, std::string_view key, std::string_view hint);

}  // namespace keyfs
