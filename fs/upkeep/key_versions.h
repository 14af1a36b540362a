// What the command line does to the versions of keys: rotate, promote, retire, destroy.
//
// A rotation adds one version to the record (pending), has each wrap of it unwrapped by its own
// region, and makes it current: each step a compare-and-swap, each found done when it is tried
// again. The rotation's token, kept with the version, tells which one it has made: the same token
// never makes a second one, wherever and however often it is tried, killed or raced. Rotations with
// other tokens make versions of their own; the highest becomes current, and a lower one that comes
// later is superseded, and never current.
//
// Nothing here lowers `current` but promote(), and nothing lowers `min` but retire(); both raise the
// serial.
//
// A new version is a new key: it is made only when this host's memory was asked and does not
// contradict the record, or a store that went back in time would get a second key under a number
// that was used. All else is done whatever the memory is like, and noted in it if that can be done.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never; each call is a task. Dropping one is as safe as a kill. Deadlines: each step
// (reading, making, testing, writing) has `step`. Errors: of each kInvalid for an id that is not
// valid, a key that does not exist, was deleted, or is RKMS's, and for what the record's versions
// do not permit: nothing was done. kCorrupt for a record that went back according to this host's
// memory. Otherwise the store's and the regions'; the outcome may then be unknown, and the same call
// again finds out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"
#include "fs/upkeep/record_changes.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

// Whether a text may be the token of a rotation: like a key id.
bool is_rotation_token(std::string_view text);

struct RotateRequest {
  std::string id;
  std::string token;  // of this rotation and no other
  bool hold = false;  // made and tested only
};

// How a version has become current, or has not.
struct Promotion {
  enum class Outcome {
    kPromoted,    // it is current now
    kAlready,     // it had become current before
    kHeld,        // made and tested; promote() makes it current
    kSuperseded,  // another version is current, by another rotation or promotion
    kNot,         // not_promoted says why
  };
  Outcome outcome = Outcome::kNot;
  uint32_t version = 0;
  // The current version until now; of kAlready and kSuperseded, which change nothing: the one
  // before `current`. 0: there was none.
  uint32_t before = 0;
  uint32_t current = 0;                // the current version now
  bool made = false;                   // by this call; otherwise there was such a version
  std::vector<std::string> regions;    // in which it is wrapped and tested
  std::vector<RegionFailure> missing;  // in which it should be, and is not, or is not tested
  std::optional<Error> not_promoted;
  std::optional<Error> not_noted;  // why this host will not remember it
};

struct MinChange {
  uint32_t before = 1;
  uint32_t after = 1;  // equal: nothing to do
  uint32_t current = 0;
  std::optional<Error> not_noted;
};

struct Destruction {
  std::vector<uint32_t> destroyed;  // by this call
  std::vector<uint32_t> already;
  std::optional<Error> not_noted;
};

class WrapTests;

class KeyVersions {
 public:
  // `creator`: the creator of new versions (the host's name). `memory` and `notebook`: this host's.
  KeyVersions(Loop& loop, Store& store, Regions& regions, HostMemory& memory, Notebook& notebook,
              std::string creator, Duration step);

  // kInvalid also for a disabled key and for a record that is full, kUnavailable also if this
  // host's memory cannot be asked or written. Once a version was made, why it is not current is in
  // the answer.
  Task<Result<Promotion>> rotate(RotateRequest request);
  // Makes `version` current, held or older. kInvalid also for one that is retired, destroyed or was
  // never made. Also of a disabled key. `only_from`: nothing is done if another version is current
  // (kSuperseded; kAlready if it is this one).
  Task<Result<Promotion>> promote(std::string id, uint32_t version,
                                  std::optional<uint32_t> only_from = std::nullopt);
  // Versions below `below` are refused, others are not. kInvalid also for one above current.
  Task<Result<MinChange>> retire(std::string id, uint32_t below);
  // The same by itself, some time after a rotation: those below `current`, and kInvalid also if
  // another version is current.
  Task<Result<MinChange>> retire_old(std::string id, uint32_t current);
  // Removes the wraps of retired versions, for good. All or none: kInvalid if one of them is not
  // retired.
  Task<Result<Destruction>> destroy(std::string id, std::vector<uint32_t> versions);

 private:
  Task<Result<MinChange>> set_min(std::string id, uint32_t below, bool only_if_current);
  enum class Way { kRotate, kHold, kPromote };
  // A version of a rotation, in the record.
  struct Added {
    Stored stored;
    uint32_t number = 0;
    bool made = false;
    std::vector<RegionFailure> missing;
    std::optional<Error> not_noted;
    std::optional<uint32_t> only_from;  // of a promotion
  };

  Task<Result<Added>> add(RotateRequest request, std::string what);
  // Tests the version of `added` and makes it current.
  Task<Result<Promotion>> bring_up(Added added, Way way, std::string what);
  Task<void> fill_in(Record& record, uint32_t number, WrapTests& tests);
  // Whether this host's memory permits a new version of `record`; false: the record was changed
  // just now.
  Task<Result<bool>> may_make(const Record& record, std::string what);
  TimePoint until() const { return loop_.now() + step_; }
  std::string now() const { return to_rfc3339(loop_.clock().wall()); }

  Loop& loop_;
  Store& store_;
  Regions& regions_;
  HostMemory& memory_;
  Notebook& notebook_;
  const std::string creator_;
  const Duration step_;
  RecordChanges records_;
};

}  // namespace keyfs
