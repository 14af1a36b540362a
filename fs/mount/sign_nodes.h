// What the kernel knows below .keyfs/sign, by node id.
//
// Any user may look up any number of digests, and of ids: so these nodes are lone names, as in
// fs/mount/inode_table.h, of which the oldest are forgotten. Only those of keys that are known stay,
// and of these there are few.
//
// Thread-safety: all from any thread. Ownership: nodes are shared. Node ids and numbers are taken
// from the InodeTable, which outlives it: so they are never reused. Blocking: one lock, held shortly.
// Errors: only look_up()'s.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "fs/mount/inode_table.h"
#include "fs/mount/sign_paths.h"

namespace keyfs {

class SignNode {
 public:
  SignNode(InodeTable::TakenId taken, SignPlace what, std::string path, size_t name_at)
      : id(taken.id),
        place(std::move(what)),
        path_(std::move(path)),
        name_at_(name_at),
        number_(taken.number) {}

  const uint64_t id;
  const SignPlace place;

  std::string_view path() const { return path_; }  // below .keyfs/sign
  std::string name() const { return path_.substr(name_at_); }
  uint64_t parent() const { return parent_.load(); }
  uint64_t file_number() const { return number_ != 0 ? number_ : id; }

  std::atomic<bool> paged{false};       // the page cache may have a signature of it
  std::atomic<pid_t> told_stale{0};     // the thread that was last told ESTALE; it asks twice
  std::atomic<uint32_t> open_bytes{0};  // the largest signature that is open; 0: none is

 private:
  friend class SignNodes;
  const std::string path_;
  const size_t name_at_;
  const uint32_t number_;
  std::atomic<uint64_t> parent_{0};
  // Guarded by the table.
  uint64_t lookups_ = 0;
  size_t opens_ = 0;
  bool leaving_ = false;
  std::optional<std::list<SignNode*>::iterator> lone_;
};
using SignNodePtr = std::shared_ptr<SignNode>;

class SignNodes {
 public:
  explicit SignNodes(InodeTable& ids) : ids_(ids) {}
  SignNodes(const SignNodes&) = delete;
  SignNodes& operator=(const SignNodes&) = delete;

  // The node of a name in a directory (null: .keyfs/sign, whose node is `parent`), made if
  // necessary; the kernel gets one more reference. Null if no ids are left.
  SignNodePtr look_up(const SignNode* directory, uint64_t parent, std::string_view name,
                      SignPlace place, bool lone);
  SignNodePtr find(uint64_t id) const;  // null: none of these
  // The kernel gives `count` references back. False: it is none of these.
  bool forget(uint64_t id, uint64_t count);
  // The oldest lone name if there are more than `most`: the kernel must be told to forget it.
  std::optional<LeavingName> take_oldest_lone(size_t most);
  // Names that the kernel was told to forget and still holds.
  size_t leaving() const { return leaving_.load(std::memory_order_relaxed); }
  size_t size() const;

  // A signature of so many bytes is open there, or no longer: what stat(2) tells meanwhile is exact
  // if there is one, and never less than any.
  void opened(SignNode& node, uint32_t bytes);
  void closed(SignNode& node);

 private:
  InodeTable& ids_;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, SignNodePtr> by_id_;
  std::unordered_map<std::string_view, SignNode*> by_path_;  // of the node's own path
  std::list<SignNode*> lone_;                                // the oldest first
  std::atomic<size_t> leaving_{0};
};

}  // namespace keyfs
