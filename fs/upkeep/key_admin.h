// What the command line does to keys: create, describe, disable, enable, delete.
//
// Deleting removes the wraps of all versions, for good. What is left of the record stays for ever,
// so that the id can never be given a second plaintext. Disabling is the reversible one.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// What it makes, changes or comes to see is noted in this host's memory before it is told. A key is
// not made where that can't be done. A change of state is, since to refuse a key must not depend on
// it; then the answer tells so.
//
// Blocking: never; tasks. Errors: those of Store and Regions, and of the gate that creations go
// through (fs/keys/creation_gate.h); kInvalid for an id that is none, for a key that is not there,
// and for enabling what was deleted; kCorrupt for a record that this host's memory says went back.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

struct AdminCreated {
  bool created = false;  // false: the key was there already
  uint32_t version = 0;
  KeyState state = KeyState::kEnabled;
  std::vector<std::string> regions;    // in which it is wrapped
  std::vector<RegionFailure> missing;  // in which it could be, and is not
  std::optional<Error> not_noted;      // why this host will not remember it
};

struct StateChange {
  KeyState before = KeyState::kEnabled;
  KeyState after = KeyState::kEnabled;  // the same: nothing to do
  std::optional<Error> not_noted;       // why this host will not remember it
};

struct KeyDescription {
  struct Wrapped {
    std::string region, master, at;
  };
  struct VersionInfo {
    uint32_t version = 0;
    std::string created, creator;
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
  bool from_rkms = false;
  std::vector<VersionInfo> versions;

  bool degraded() const;  // the current version lacks a region's present master
};

class KeyAdmin {
 public:
  // `creator`: what new records name as their maker (the host's name). `memory` and `notebook`:
  // this host's.
  KeyAdmin(Loop& loop, Store& store, Regions& regions, HostMemory& memory, Notebook& notebook,
           std::string creator);

  Task<Result<AdminCreated>> create(std::string id, uint32_t bytes, TimePoint deadline);
  Task<Result<StateChange>> set_state(std::string id, KeyState state, TimePoint deadline);
  Task<Result<KeyDescription>> describe(std::string id, TimePoint deadline);

 private:
  // The record, in keeping with this host's memory; kInvalid when there is none.
  Task<Result<Stored>> look_up(std::string id, std::string what, TimePoint deadline);
  // Tells why it could not be done.
  Task<std::optional<Error>> note(Stored stored, bool strong);

  Loop& loop_;
  Store& store_;
  Regions& regions_;
  HostMemory& memory_;
  Notebook& notebook_;
  const std::string creator_;
};

}  // namespace keyfs
