// The open keys of which pages may be in the page cache: read there by mmap, sendfile or splice,
// which direct_io does not reach.
//
// What the page cache serves never comes to us, so that neither an old check nor a revocation would
// be noticed by reading. Such keys are therefore looked at as long as they are open, as if somebody
// had read them: one that is no longer fresh is checked in the background, and the pages of one
// that may not be served any more are dropped. It costs one check per key and fresh_for.
//
// Thread-safety: all from any thread; an Inode is given by who may keep the pointer. Ownership:
// keeps the keys' entries alive. Blocking: short locks only. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/mount/inode_table.h"

namespace keyfs {

class PagedFiles {
 public:
  // Before the page is answered. True when nobody looks at the list yet: the caller is to start it.
  bool add(Inode& inode);
  // Before the pages are dropped: one that is read afterwards brings the file back. False when it
  // was not there.
  bool remove(Inode& inode);
  // The same for one that the kernel has forgotten.
  void remove_forgotten(uint64_t id);

  using Files = std::vector<std::pair<uint64_t, KeyRef>>;
  Files all() const;
  // For who looks at them, at the end of a round: true when there is nothing left to look at, and
  // the next add() starts it again.
  bool may_end();
  size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, KeyRef> files_;
  bool watched_ = false;
};

}  // namespace keyfs
