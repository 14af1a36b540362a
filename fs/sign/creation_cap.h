// How many keys may be created within an hour, by all processes that share the file `made`: a crash
// loop makes no thousands of keys. The file has a line of milliseconds for each.
//
// Thread-safety: plain calls; processes take turns by a lock on the file. Ownership: none.
// Blocking: they touch the disk; on a worker. Errors: kThrottled when the number is reached; the
// disk's, when it cannot be known: then nothing is created either. Lines that are damaged do not
// count.
#pragma once

#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

class CreationCap {
 public:
  CreationCap(std::string path, unsigned per_hour) : path_(std::move(path)), per_hour_(per_hour) {}

  // Counts a creation; it is on disk once this has returned.
  Result<void> take(WallTime now) const;
  // The one that was counted at that time has certainly created nothing.
  Result<void> give_back(WallTime taken, WallTime now) const;

 private:
  const std::string path_;
  const unsigned per_hour_;
};

}  // namespace keyfs
