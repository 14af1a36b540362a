// What the command line does to keys: create, describe, disable, enable, delete.
//
// Deleting permanently removes the wraps of all versions. The rest of the record stays forever, so
// that the id can never get a second plaintext. Disabling is reversible.
//
// What it creates, changes or sees is noted in this host's memory before it is reported. If that is
// not possible, no key is created; a change of state is still made, since revoking must not depend
// on it, and the answer says so.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never; each call is a task. Errors: of each kInvalid for an id that is not valid,
// kCorrupt for a record that went back according to this host's memory, and the store's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"
#include "fs/upkeep/record_changes.h"
#include "kms/regions.h"
#include "store/record_versions.h"
#include "store/store.h"

namespace keyfs {

struct AdminCreated {
  bool created = false;  // false: the key already existed
  uint32_t version = 0;
  KeyState state = KeyState::kEnabled;
  std::vector<std::string> regions;    // in which it is wrapped
  std::vector<RegionFailure> missing;  // in which it could be, and is not
  std::optional<Error> not_noted;      // why this host will not remember it
};

struct StateChange {
  KeyState before = KeyState::kEnabled;
  KeyState after = KeyState::kEnabled;  // equal: nothing to do
  std::optional<Error> not_noted;       // why this host will not remember it
};

struct KeyDescription {
  struct Wrapped {
    std::string region, master, at;
  };
  struct VersionInfo {
    uint32_t version = 0;
    VersionState state = VersionState::kReadable;
    std::string created, creator;
    std::string promoted, destroyed;  // when, or empty
    uint32_t bytes = 0;
    bool has_check = false;
    std::vector<Wrapped> wrapped;
    std::vector<std::string> missing;  // configured regions that cannot unwrap it
    // Regions in which another master wrapped it than is theirs now.
    std::vector<std::string> other_master;
  };
  std::string id;
  KeyState state = KeyState::kEnabled;
  uint32_t current = 0;
  uint32_t pending = 0;  // 0: none
  uint32_t min = 1;
  bool from_rkms = false;
  std::vector<VersionInfo> versions;
  std::optional<Error> not_noted;  // why this host will not remember that it was seen

  bool degraded() const;  // a readable version lacks a region's present master
};

class KeyAdmin {
 public:
  // `creator`: the creator in new records (the host's name). `memory` and `notebook`: this host's.
  KeyAdmin(Loop& loop, Store& store, Regions& regions, HostMemory& memory, Notebook& notebook,
           std::string creator);

  // Creates a key of `bytes` bytes, unless there is one. Errors also of the creation gate
  // (fs/keys/creation_gate.h) and the regions.
  Task<Result<AdminCreated>> create(std::string id, uint32_t bytes, TimePoint deadline);
  // kInvalid for a key that does not exist, for a change of a deleted one, and for a record that
  // RKMS wrote; kUnavailable if others keep changing the record. In the store once this has
  // returned; other hosts follow within their fresh_for.
  Task<Result<StateChange>> set_state(std::string id, KeyState state, TimePoint deadline);
  // What the store holds, unwrapping nothing. kInvalid for a key that does not exist.
  Task<Result<KeyDescription>> describe(std::string id, TimePoint deadline);

 private:
  // What create() tells of a key that the store has: kCorrupt if this host's memory contradicts it.
  Task<Result<AdminCreated>> already_there(Stored found, bool strong, TimePoint deadline);
  Loop& loop_;
  Store& store_;
  Regions& regions_;
  HostMemory& memory_;
  Notebook& notebook_;
  const std::string creator_;
  RecordChanges records_;
};

}  // namespace keyfs
