// Creates a new key, bound to the store: generates it in one region, wraps it in the others, writes
// the record if there is none.
//
// Call it only after a strongly consistent miss, with a pass from the gate (creation_gate.h). The
// first writer wins; a loser gets the winner's record without a key, and its own key is wiped.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to what it is given until the task
// is done. Blocking: never.
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
  SecretBytes key;     // only if it is ours
  std::string region;  // that generated it
  std::vector<RegionFailure> missing;
};

struct MakeRequest {
  std::string id;
  uint32_t bytes = 32;
  std::string creator;
  TimePoint deadline;
  // Asked once, when the record is ready to be written; on an error nothing is.
  std::function<Task<Result<void>>()> may_write;
  // Called once, just before the record is written: after that the task should not be dropped.
  std::function<void()> before_write;

  MakeRequest(const CreationPass& pass, uint32_t size, std::string maker, TimePoint until)
      : id(pass.id()), bytes(size), creator(std::move(maker)), deadline(until) {}
};

// Errors: those of Regions::create and Store::put_if_absent, as "could not create key ID: ...".
// After an error of the store the outcome may be unknown: nothing was served, and the next read of
// the store resolves it.
Task<Result<MadeKey>> make_key(Loop& loop, Store& store, Regions& regions, MakeRequest request);

}  // namespace keyfs
