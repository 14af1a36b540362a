// Writes to this host's memory and reports whether it is on disk: for commands, which change keys
// with or without a running daemon, and exit too soon for a delayed write.
//
// Thread-safety: none; on the loop's thread. Ownership: outlives its tasks. Blocking: never; each
// call is a task that may take as long as a disk hangs: callers limit the time. Errors: of each
// kDenied if this user may not write there, otherwise as in store/sqlite/db.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/keys/host_memory.h"
#include "store/store.h"

namespace keyfs {

struct SeenKey {
  std::string id;
  Sighting what;
};

class Notebook {
 public:
  virtual ~Notebook() = default;

  // Makes a test write to disk: if it works, later notes can be expected to be kept.
  virtual Task<Result<void>> prove() = 0;
  // On disk once the task is done. A record that goes back from what is remembered is ignored,
  // which is not a failure. `strong`: as in HostMemory::note().
  virtual Task<Result<void>> write_down(Stored stored, bool strong) = 0;
  // As HostMemory::note_seen() for each, in one go; on disk once the task is done. Makes no memory
  // where there is none, which is not a failure: looking at a key must leave no files behind.
  virtual Task<Result<void>> write_seen(std::vector<SeenKey> keys) = 0;
};

// Waits for a task of a Notebook: why it failed, or that it was not done by `until`; it then goes
// on unheard.
Task<std::optional<Error>> done_by(Loop& loop, Task<Result<void>> noting, TimePoint until);

}  // namespace keyfs
