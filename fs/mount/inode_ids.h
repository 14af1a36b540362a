// Node ids that no earlier run of the daemon has used.
//
// The kernel, and a process that takes over open files after a restart, know a file by its node id,
// so an id reused for another key would show one key instead of another. Each start therefore takes
// its own block of 2^38 ids; <state_dir>/node_ids has the number of the next block, on disk before
// the block is used. 2^38 ids last for three months with a new name every 30 us, 2^25 blocks for a
// year with a start every second.
//
// The file: one line, "keyfs node ids 1 <block>\n", the next block. If it was lost, the block is
// taken from the wall clock (minutes since 2020), so that ids still differ.
//
// Thread-safety: none needed; one call at start. Several daemons may share a state_dir (flock).
// Blocking: both functions, on the disk: call them before the mount.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

struct InodeIds {
  static constexpr unsigned kBits = 38;  // per block
  uint64_t first = 0;                    // the block is [first, first + 2^kBits)
};

// The next block, with an fsync or two. kUnavailable if the file cannot be read or written (the
// message says what to do), kCorrupt if it is not keyfs's (it is never overwritten).
Result<InodeIds> take_inode_ids(const std::string& state_dir, WallTime now);

// Whether take_inode_ids() could read what is there; takes nothing. A file or directory that does
// not exist is good.
Result<void> check_inode_ids(const std::string& state_dir);

// For a start without a writable state_dir: the block of this minute by the wall clock, or the one
// in the file if that is higher. Another start within the same minute takes the same block, so this
// is only better than not starting.
InodeIds inode_ids_by_clock(const std::string& state_dir, WallTime now);

}  // namespace keyfs
