// Makes a new key, bound to the store: generate in one region, wrap in the others, write the record
// if there is none.
//
// To be called only after a strongly consistent miss, with the gate's pass (creation_gate.h). The
// first writer wins; whoever loses gets the
// winner's record and no key, and his own is wiped.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to what it is given until the task
// is done. Blocking: never. Errors: those of Regions::create and Store::put_if_absent, told as
// "could not create key ID: ...". After an error of the store the outcome may be unknown: nothing
// was served, and the next look into the store tells.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/keys/creation_gate.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

struct MadeKey {
  bool ours = false;   // false: another record was there first
  Stored stored;       // what the store holds now
  SecretBytes key;     // only when it is ours
  std::string region;  // that generated it
  std::vector<RegionFailure> missing;
};

struct MakeRequest {
  std::string id;
  uint32_t bytes = 32;
  std::string creator;
  TimePoint deadline;
  // Called once, just before the record is written: from then on the task should not be dropped.
  std::function<void()> before_write;

  MakeRequest(const CreationPass& pass, uint32_t size, std::string maker, TimePoint until,
              std::function<void()> hook = {})
      : id(pass.id()),
        bytes(size),
        creator(std::move(maker)),
        deadline(until),
        before_write(std::move(hook)) {}
};

Task<Result<MadeKey>> make_key(Loop& loop, Store& store, Regions& regions, MakeRequest request);

}  // namespace keyfs
