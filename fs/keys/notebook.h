// Writes into this host's memory, and tells whether it is on the disk: for commands, which change
// keys beside a daemon or without one, and end before anybody could write behind.
//
// Thread-safety: none; on the loop's thread. Ownership: outlives its tasks. Blocking: never; the
// tasks take as long as a disk hangs: callers bound them. Errors: kDenied when this user may not
// write there, else as in store/sqlite/db.h.
#pragma once

#include "base/result.h"
#include "base/task.h"
#include "store/store.h"

namespace keyfs {

class Notebook {
 public:
  virtual ~Notebook() = default;

  // Something was written, and is on the disk: what is noted now can be expected to be kept.
  virtual Task<Result<void>> prove() = 0;
  // On the disk once it is done. What would take back what is remembered is not taken, which is no
  // failure. `strong`: as HostMemory::note().
  virtual Task<Result<void>> write_down(Stored stored, bool strong) = 0;
};

}  // namespace keyfs
