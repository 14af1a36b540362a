// Node ids that no earlier run of the daemon has given out.
//
// The kernel and whoever takes over open files after a restart know a file by its node id, so an id
// that came again for another key would show one key in place of another. Each start therefore
// takes a block of 2^38 ids of its own; which block is next stands in <state_dir>/node_ids, on disk
// before the first id of it is used. 2^38 ids last for three months of a new name every 30 us, 2^25
// blocks for a year of a start every second.
//
// The file: one line, "keyfs node ids 1 <block>\n", the block to be taken next. When it was lost,
// the block is taken from the wall clock (minutes since 2020), so that ids still differ.
//
// Thread-safety: none needed; one call at start. Several daemons may share a state_dir (flock).
// Blocking: yes, for an fsync or two: call it before the mount.
// Errors: kUnavailable (cannot be read or written; the message says what to do), kCorrupt (the file
// is not ours; it is never overwritten then).
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

struct InodeIds {
  static constexpr unsigned kBits = 38;  // of a block
  uint64_t first = 0;                    // the block is [first, first + 2^kBits)
};

Result<InodeIds> take_inode_ids(const std::string& state_dir, WallTime now);

// For a start without a state_dir that can be written: the block of this minute by the wall clock,
// or the one that the file names if that is higher. Another start within the minute takes the same
// one, so this is better than not to start, and no more.
InodeIds inode_ids_by_clock(const std::string& state_dir, WallTime now);

}  // namespace keyfs
