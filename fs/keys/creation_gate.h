// The gate for every way to create a key: opening a file, and the command line.
//
// A key is created only for an id that this host has never seen. That the store has no record is
// not enough: it may have lost it, or be another store. So creating a key requires a CreationPass
// (fs/keys/key_maker.h), which only the gate issues, and only if this host's memory was asked and
// has never seen the id. If the memory is slow, busy, failing, damaged or missing, nothing is
// created.
//
// Thread-safety: none; on the loop's thread. Ownership: a pass is a value. Blocking: never.
#pragma once

#include <string>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/keys/host_memory.h"

namespace keyfs {

class CreationPass {
 public:
  const std::string& id() const { return id_; }

 private:
  friend Result<CreationPass> judge_creation(const std::string&, const Recall&, bool,
                                             const std::string&);
  explicit CreationPass(std::string id) : id_(std::move(id)) {}
  std::string id_;
};

// Decides by the memory's answer. kCorrupt if this host has seen the id, kUnavailable if it cannot
// tell; both say what the operator can do. `seen_here`: this process knows the id. `forget`: from
// HostMemory::forget().
Result<CreationPass> judge_creation(const std::string& id, const Recall& recall, bool seen_here,
                                    const std::string& forget);

// Asks the memory until the deadline, and decides: a memory that says nothing by then cannot tell.
Task<Result<CreationPass>> ask_to_create(Loop& loop, HostMemory& memory, std::string id,
                                         TimePoint deadline);

}  // namespace keyfs
