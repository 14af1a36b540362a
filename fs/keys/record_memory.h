// What a record may never become again, judged by what this host knows of it ("nothing goes back").
//
// A record is tied to what it was once accepted as: the check value of each version, its serial,
// that it is deleted, the store it was made in, and that keyfs wrote it. Two things remember it:
// the replica, whole and over restarts, and each known id in memory (Remembered), which needs no
// disk. What a record says that contradicts either is damage, unless the answer may be old.
//
// Thread-safety: pure functions of plain values. Blocking: never. Errors: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "store/record.h"

namespace keyfs {

// What is kept beside each known id: 16 bytes, since there may be a million of them.
struct Remembered {
  uint64_t check = 0;   // the first half of the check value of `version`
  uint32_t serial = 0;  // as far as it fits
  uint32_t version : 30 = 0;
  uint32_t deleted : 1 = 0;
  uint32_t known : 1 = 0;  // a record that keyfs wrote was accepted
};

// Why `now` can't be what became of `before`; nullopt when it can.
std::optional<std::string> goes_back(const Record& before, const Record& now);
std::optional<std::string> goes_back(const Remembered& before, const Record& now);

// kCorrupt, for the log and for whoever asked: `why` as goes_back() tells it, `forget` as
// HostMemory::forget() does.
Error went_back(const std::string& id, const std::string& why, const std::string& forget);

// `now` permits what `before` refused, and no serial tells which is newer: true of a record as old
// versions of keyfs wrote it, and of one that was read from somewhere behind.
bool may_be_older(const Record& before, const Record& now);

// What is remembered once `accepted` was; nothing of what RKMS wrote, which proves nothing.
Remembered remembered(const Record& accepted);

}  // namespace keyfs
