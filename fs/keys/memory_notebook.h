// A daemon's memory as a notebook: for what changes keys inside a daemon.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to the memory, which outlives it and
// its tasks. Blocking: never; as slow as the memory's disk. Errors: kUnavailable for a memory that
// cannot be written.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"

namespace keyfs {

class MemoryNotebook final : public Notebook {
 public:
  explicit MemoryNotebook(HostMemory& memory) : memory_(memory) {}

  // The memory writes all the time, and knows whether it can.
  Task<Result<void>> prove() override {
    std::string trouble = memory_.trouble();
    if (!trouble.empty()) co_return fail(Code::kUnavailable, std::move(trouble));
    co_return Result<void>();
  }
  Task<Result<void>> write_down(Stored stored, bool strong) override {
    memory_.note(stored, strong);
    co_return co_await memory_.kept(stored.record.id);
  }
  Task<Result<void>> write_seen(std::vector<SeenKey> keys) override {
    for (const SeenKey& key : keys) memory_.note_seen(key.id, key.what);
    for (const SeenKey& key : keys) {
      if (auto kept = co_await memory_.kept(key.id); !kept) co_return kept;
    }
    co_return Result<void>();
  }

 private:
  HostMemory& memory_;
};

}  // namespace keyfs
