// Which changes of a record are impossible, given what this host knows about it ("nothing goes
// back").
//
// An accepted record is binding: the check value of each version, which ones were destroyed, its
// serial (without which neither current nor min change), its deletion, the store that it was created
// in, and that keyfs wrote it. Two places remember this: the replica, in
// full and across restarts, and each known id in memory (Remembered), which needs no disk. A record
// that contradicts either is damaged, unless the answer may be stale.
//
// A record that RKMS wrote has no check value. What its key was is remembered by this process only.
//
// Thread-safety: pure functions of plain values. Blocking: never. Errors: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "store/record.h"

namespace keyfs {

// Kept for each known id: 16 bytes, since there may be a million of them.
struct Remembered {
  uint64_t check = 0;   // the first half of the check value of `version`
  uint32_t serial = 0;  // capped to what fits
  uint32_t version : 29 = 0;
  uint32_t rkms : 1 = 0;  // a record that RKMS wrote was accepted, for which `version` gave a key
                          // with this `check`; 0: with one too short to have one
  uint32_t deleted : 1 = 0;
  uint32_t known : 1 = 0;  // a record that keyfs wrote was accepted
};

// Why `now` can't be a successor of `before`; nullopt if it can.
std::optional<std::string> goes_back(const Record& before, const Record& now);
std::optional<std::string> goes_back(const Remembered& before, const Record& now);

// The error for that, kCorrupt, for log and caller: `why` from goes_back(), `forget` from
// HostMemory::forget().
Error went_back(const std::string& id, const std::string& why, const std::string& forget);

// The same for an item of RKMS that now gives another key than this process has read from it.
Error other_rkms_key(const std::string& id);

// `now` permits what `before` refused, and no serial shows which is newer: a record written by an
// old version of keyfs, or read from a stale copy.
bool may_be_older(const Record& before, const Record& now);

// What is remembered of an accepted record; for one that RKMS wrote, which proves nothing, only what
// its key was found to be (prove_rkms()).
Remembered remembered(const Record& accepted);

}  // namespace keyfs
