// Open files that somebody polls, to be told once the version that they opened is no longer the
// current one.
//
// The kernel names an open file to be polled by a number of its own, which its RELEASE does not
// carry. So what is kept of a file that was closed is found by counting: once there are more polled
// files than open ones of a node, version and user, all of them are woken, and those that are still
// there ask again, which their programs do not see.
//
// Thread-safety: all from any thread. Ownership: keeps the keys' entries alive. Blocking: a short
// lock. Errors: none. Cost: nothing for files that nobody polls.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "fs/keys/key_cache.h"

struct fuse_pollhandle;

namespace keyfs {

struct PollHandleEnd {
  void operator()(fuse_pollhandle* handle) const;
};
using PollHandle = std::unique_ptr<fuse_pollhandle, PollHandleEnd>;

class PolledFiles {
 public:
  // `handle`: of the open file, which ends with its version. Another one for the same open file
  // takes the place of the first. True if nobody is examining the list yet: the caller must start
  // that.
  bool add(uint64_t node, uint64_t handle, const KeyRef& entry, PollHandle poll);
  size_t size() const { return count_.load(std::memory_order_relaxed); }

  // Those to be woken, which are no longer in the list.
  // An open file with that handle was closed, and its opener has `left` others of the node.
  std::vector<PollHandle> released(uint64_t node, uint64_t handle, size_t left);
  // All of this key; and those that opened another version than this one.
  std::vector<PollHandle> take_all_of(const KeyEntry& entry) { return take(entry, 0); }
  std::vector<PollHandle> take_others(const KeyEntry& entry, uint32_t version) {
    return take(entry, version);
  }

  std::vector<KeyRef> entries() const;  // each once
  // For the examiner, at the end of a round: true if nothing is left, and the next add() must start
  // it again.
  bool may_end();
  // Forgets all, and takes no more.
  void close();

 private:
  using Key = std::tuple<uint64_t, uint64_t, uint64_t>;  // node, handle, the kernel's number
  struct File {
    KeyRef entry;
    PollHandle poll;
  };
  std::vector<PollHandle> take(const KeyEntry& entry, uint32_t but);

  mutable std::mutex mutex_;
  std::map<Key, File> files_;
  std::atomic<size_t> count_{0};
  bool watched_ = false;
  bool closed_ = false;
};

}  // namespace keyfs
