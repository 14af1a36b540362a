// Open keys that may have pages in the page cache, through mmap, sendfile or splice, which
// direct_io does not cover.
//
// Reads from the page cache never reach us, so reading would notice neither an overdue check nor a
// revocation. Such keys are therefore examined as long as they are open, as if somebody had read
// them: one that is no longer fresh is checked in the background, and the pages of one that may no
// longer be served are dropped. This costs one check per key and fresh_for. Descriptors of one file
// may have opened different versions, whose pages it has then; each is examined.
//
// Thread-safety: all from any thread; pass an Inode only if you may keep the pointer. Ownership:
// keeps the keys' entries alive. Blocking: short locks only. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fs/mount/inode_table.h"

namespace keyfs {

class PagedFiles {
 public:
  // Call before answering with a page of that version. True if nobody is examining the list yet: the
  // caller must start that.
  bool add(Inode& inode, uint32_t version);
  // Call before dropping the pages: a page read afterwards adds the file again. False if it was not
  // in the list.
  bool remove(Inode& inode);
  // The same for one that the kernel has forgotten.
  void remove_forgotten(uint64_t id);

  struct File {
    uint64_t id;
    KeyRef entry;
    std::vector<uint32_t> versions;
  };
  std::vector<File> all() const;  // a copy
  // For the examiner, at the end of a round: true if nothing is left, and the next add() must start
  // it again.
  bool may_end();
  size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, File> files_;
  bool watched_ = false;
};

}  // namespace keyfs
