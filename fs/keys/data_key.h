// A data key in locked memory, and what is known about it without its bytes.
//
// Thread-safety: immutable once shared, so any thread may read it. Ownership: by shared_ptr; the
// bytes are wiped when the last reader drops it. Blocking: never. Errors: none.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/secret.h"
#include "store/record.h"

namespace keyfs {

// Names of regions; keys that are wrapped in the same regions share one list.
using RegionList = std::shared_ptr<const std::vector<std::string>>;

struct VersionInfo {
  uint32_t bytes = 0;
  WallTime created{};
  RegionList regions;  // where it is wrapped
};

// What is known about a key without unwrapping it (extended attributes, describe).
struct KeyInfo {
  KeyState state = KeyState::kEnabled;
  uint32_t version = 0;  // the current one
  uint32_t bytes = 0;
  WallTime created{};
  RegionList regions;                        // where that version is wrapped
  std::map<uint32_t, VersionInfo> versions;  // those that can be read, if the key is enabled
};

struct DataKey {
  SecretBytes key;
  uint32_t version = 0;
  WallTime created{};
  RegionList regions;
  // The region that unwrapped or generated it. Lives as long as the cache.
  const std::string* region = nullptr;
};
using SharedKey = std::shared_ptr<const DataKey>;

// Where the bytes of an open came from.
enum class KeySource : uint8_t { kNone, kCache, kRegion, kReplica };
// "cache", "region", "replica": kReplica is a record from this host's replica, unwrapped by a
// region.
std::string_view to_string(KeySource source);

}  // namespace keyfs
