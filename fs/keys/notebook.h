// Writes to this host's memory and reports whether it is on disk: for commands, which change keys
// with or without a running daemon, and exit too soon for a delayed write.
//
// Thread-safety: none; on the loop's thread. Ownership: outlives its tasks. Blocking: never; each
// call is a task that may take as long as a disk hangs: callers limit the time. Errors: of each
// kDenied if this user may not write there, otherwise as in store/sqlite/db.h.
#pragma once

#include <string>

#include "base/result.h"
#include "base/task.h"
#include "store/store.h"

namespace keyfs {

class Notebook {
 public:
  virtual ~Notebook() = default;

  // Makes a test write to disk: if it works, later notes can be expected to be kept.
  virtual Task<Result<void>> prove() = 0;
  // On disk once the task is done. A record that goes back from what is remembered is ignored,
  // which is not a failure. `strong`: as in HostMemory::note().
  virtual Task<Result<void>> write_down(Stored stored, bool strong) = 0;
  // As HostMemory::note_seen(); on disk once the task is done. Makes no memory where there is none,
  // which is not a failure: looking at a key must leave no files behind.
  virtual Task<Result<void>> write_seen(std::string id) = 0;
};

}  // namespace keyfs
