// The keys that the kernel knows, by node id.
//
// A key gets its node id at its first LOOKUP and keeps it until the kernel forgets it; an id is
// never reused (fs/mount/inode_ids.h), not even for the same key when it is looked up again. A name
// leads to its node through the key's entry in the cache, which each inode keeps alive. So has each
// other place where the key is found (fs/mount/views.h), which leads to its node through a map.
//
// Thread-safety: everything may be called from any thread. find() takes no lock: ids are indices
// into a radix tree of atomic pointers. look_up() and forget() take one lock of 32, by entry.
// Ownership: the table owns the inodes; destroy it before the key cache. A pointer is valid as long
// as the kernel holds a reference: from look_up() to the forget() that gives the last one back,
// which the kernel sends only when no request for the file is pending and no descriptor of it is
// open. Only code that serves such a request may keep the pointer; all others keep the id.
// Blocking: never. Errors: only look_up()'s. Cost: 8 bytes for the id and 64 for the inode; some 200
// for a view's.
//
// Lone names: those that somebody looked up, and of which nothing else is known. Any user may look
// up any number of names, and each costs memory here and more in the kernel. So they are in a
// separate list, the oldest first; the caller that makes it too long removes the first one and has
// the kernel forget it. A name leaves the list when its key is opened (settle()).
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "fs/keys/key_cache.h"
#include "fs/mount/file_numbers.h"
#include "fs/mount/inode_ids.h"
#include "fs/mount/views.h"

namespace keyfs {

class Inode {
 public:
  // `number` is its alone, or 0.
  Inode(uint64_t node_id, KeyRef key_entry, uint32_t number, View view = View::kKey)
      : id(node_id), entry(std::move(key_entry)), view_(view), number_(number) {}

  const uint64_t id;
  const KeyRef entry;

  View view() const { return view_; }
  // Of View::kVersion; 0 elsewhere: the current one.
  uint32_t version() const;
  // The node of its directory, and its name there.
  uint64_t parent() const;
  std::string name() const { return name_of(view_, entry->id(), version()); }

  // What stat(2) shows; see fs/mount/file_numbers.h.
  uint64_t file_number() const { return number_ != 0 ? number_ : id; }

  // The size that the kernel was last told, and uses; 0: none.
  std::atomic<uint32_t> told_bytes{0};
  // The thread that was last made to look the name up again; see FuseHandlers::Access::serve().
  std::atomic<pid_t> asked_again{0};
  // Its pages may be in the page cache; see fs/mount/paged_files.h, which alone changes it.
  std::atomic<bool> paged{false};

 private:
  friend class InodeTable;
  enum class Known : uint8_t {
    kSettled,
    kLone,     // in the list
    kLeaving,  // the kernel is being told to forget it
  };
  std::atomic<Known> known_{Known::kSettled};  // changed under lone_mutex_
  const View view_;
  const uint32_t number_;
  uint64_t lookups_ = 0;    // references that the kernel holds; guarded by the table
  Inode* older_ = nullptr;  // in the list of lone names
  Inode* newer_ = nullptr;
};

// Any but View::kKey.
class ViewInode final : public Inode {
 public:
  ViewInode(uint64_t node_id, KeyRef key_entry, uint32_t number, View view, uint32_t version,
            uint64_t parent)
      : Inode(node_id, std::move(key_entry), number, view), version_(version), parent_(parent) {}

  // What is known of a version; it never changes. 0: nothing yet.
  std::atomic<uint32_t> bytes{0};
  std::atomic<int64_t> created{0};

 private:
  friend class Inode;
  friend class InodeTable;
  const uint32_t version_;
  std::atomic<uint64_t> parent_;
};

inline uint32_t Inode::version() const {
  return view_ == View::kVersion ? static_cast<const ViewInode*>(this)->version_ : 0;
}
inline uint64_t Inode::parent() const {
  return view_ == View::kKey ? kRootNode : static_cast<const ViewInode*>(this)->parent_.load();
}

// A name that the kernel is to forget.
struct LeavingName {
  uint64_t parent;
  std::string name;
};

class InodeTable {
 public:
  explicit InodeTable(InodeIds ids);
  ~InodeTable();
  InodeTable(const InodeTable&) = delete;
  InodeTable& operator=(const InodeTable&) = delete;

  // The inode of a key, created if necessary; the kernel gets one more reference. `lone`: a new
  // inode becomes a lone name. nullptr if the block of ids is used up.
  Inode* look_up(const KeyRef& entry, bool lone = false);
  // The same for a view, in the directory that the kernel knows as `parent`; a new one is lone.
  ViewInode* look_up(const KeyRef& entry, View view, uint32_t version, uint64_t parent);
  // It is no longer a lone name. False: it was none.
  bool settle(Inode& inode) {
    if (inode.known_.load(std::memory_order_relaxed) == Inode::Known::kSettled) return false;
    settle_slowly(inode);
    return true;
  }
  // It is one again: nothing was found under it. Only after a settle() that was true.
  void make_lone(Inode& inode);
  // The oldest lone name if there are more than `most`: it is now leaving, and the kernel must be
  // told.
  std::optional<LeavingName> take_oldest_lone(size_t most);
  // Leaving lone names that the kernel still holds.
  size_t leaving() const { return leaving_.load(std::memory_order_relaxed); }
  size_t lone() const { return lone_.load(std::memory_order_relaxed); }
  // Takes back `count` references: those that the kernel gives back, or that of a look_up() whose
  // reply never reached it. Ignores unknown ids.
  void forget(uint64_t id, uint64_t count);

  // Ids for nodes that another table keeps, which find() does not find. `number` is that of the path,
  // or 0 if another file has it. nullopt if the block of ids is used up.
  struct TakenId {
    uint64_t id;
    uint32_t number;
  };
  std::optional<TakenId> take_id(std::string_view path);
  void give_back_id(TakenId taken);

  // nullptr if unknown.
  Inode* find(uint64_t id) const {
    const uint64_t index = id - ids_.first;
    if (index >> InodeIds::kBits != 0) return nullptr;
    const Leaf* leaf = leaf_at(index);
    if (leaf == nullptr) return nullptr;
    return leaf->inodes[index & (kLeafSize - 1)].load(std::memory_order_acquire);
  }

  // Calls `use` with the inode of that id and entry, unless it is forgotten, with part of the table
  // locked, as in for_each(). For callers without a request for it.
  void if_known(uint64_t id, const KeyRef& entry, const std::function<void(Inode&)>& use);

  // The key's views that the kernel knows, with part of the table locked, as in for_each().
  void for_each_view(const KeyEntry& entry, const std::function<void(ViewInode&)>& use);

  // Calls `use` with every inode, in batches with the table locked: `use` must be quick and must
  // not call the table.
  void for_each(const std::function<void(Inode&)>& use);

  size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  static constexpr unsigned kLeafBits = 10;
  static constexpr unsigned kMiddleBits = 14;
  static constexpr unsigned kTopBits = InodeIds::kBits - kMiddleBits - kLeafBits;
  static constexpr uint64_t kLeafSize = uint64_t{1} << kLeafBits;
  static constexpr uint64_t kMiddleSize = uint64_t{1} << kMiddleBits;
  static constexpr uint64_t kTopSize = uint64_t{1} << kTopBits;
  static constexpr size_t kStripes = 32;

  struct Leaf {
    std::array<std::atomic<Inode*>, kLeafSize> inodes{};
    // Ids of this leaf that are not yet forgotten, including those not yet used: at 0 nobody can
    // need it any more.
    std::atomic<uint32_t> open{kLeafSize};
  };
  struct Middle {
    std::array<std::atomic<Leaf*>, kMiddleSize> leaves{};
  };
  using ViewKey = std::tuple<const KeyEntry*, View, uint32_t>;
  struct alignas(64) Stripe {
    std::mutex mutex;
    std::map<ViewKey, ViewInode*> views;
  };

  const Leaf* leaf_at(uint64_t index) const {
    const Middle* middle = top_[index >> (kMiddleBits + kLeafBits)].load(std::memory_order_acquire);
    if (middle == nullptr) return nullptr;
    return middle->leaves[(index >> kLeafBits) & (kMiddleSize - 1)].load(std::memory_order_acquire);
  }
  Stripe& stripe_of(const KeyEntry* entry);
  void again_locked(Inode& known);
  std::atomic<Inode*>* new_slot(uint64_t& id);
  void clear_slot(uint64_t id);
  void settle_slowly(Inode& inode);
  void unlink_lone_locked(Inode& inode);
  void append_lone_locked(Inode& inode);

  const InodeIds ids_;
  FileNumbers numbers_;
  std::vector<std::atomic<Middle*>> top_;
  std::array<Stripe, kStripes> stripes_;
  std::atomic<size_t> size_{0};
  std::mutex growing_;             // held while an id is assigned
  std::atomic<uint64_t> next_{0};  // index of the next id
  std::mutex lone_mutex_;          // taken last
  Inode* oldest_lone_ = nullptr;
  Inode* newest_lone_ = nullptr;
  std::atomic<size_t> lone_{0};
  std::atomic<size_t> leaving_{0};
};

}  // namespace keyfs
