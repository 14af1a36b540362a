// The gate that every way to make a key goes through: opening a file, and the command line.
//
// A key is made only for an id that this host has never seen. That the store has no record is not
// enough: it may have lost it, or be another store. So whoever wants to make a key shows a
// CreationPass (fs/keys/key_maker.h), which only the gate gives, and only when this host's memory
// was asked and has never seen the id. A memory that is slow, busy, failing, damaged or not there
// says nothing, and nothing is made then.
//
// Thread-safety: none; on the loop's thread. Ownership: a pass is a value. Blocking: never.
// Errors: kCorrupt when the id was seen here, kUnavailable when that can't be told; both say what
// the operator can do.
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

// By what the memory has said. `seen_here`: this process knows the id by itself. `forget`: what
// HostMemory::forget() tells.
Result<CreationPass> judge_creation(const std::string& id, const Recall& recall, bool seen_here,
                                    const std::string& forget);

// Asks the memory until the deadline.
Task<Result<CreationPass>> ask_to_create(Loop& loop, HostMemory& memory, std::string id,
                                         TimePoint deadline);

}  // namespace keyfs
