// The keys that the kernel knows, by node id.
//
// A key gets its node id at its first LOOKUP and keeps it until the kernel forgets it; an id never
// comes again (fs/mount/inode_ids.h), not even for the same key when it is looked up anew. The way from
// a name to its node is the key's entry in the cache, which each inode keeps alive.
//
// Thread-safety: everything may be called from any thread. find() takes no lock: ids are indices
// into a radix tree of atomic pointers. look_up() and forget() take one lock of 32, by entry.
// Ownership: the table owns the inodes, and goes before the key cache. A pointer is valid as long
// as the kernel holds a reference: from look_up() to the forget() that gives the last one back,
// which the kernel sends only when no request for the file is under way and no descriptor of it is
// open. Only what works for such a request may keep the pointer; all others keep the id.
// Blocking: never. Errors: look_up() gives nullptr when the block of ids is used up.
// Cost: 8 bytes for the id and 48 for the inode.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "fs/keys/key_cache.h"
#include "fs/mount/inode_ids.h"

namespace keyfs {

class Inode {
 public:
  Inode(uint64_t node_id, KeyRef key_entry) : id(node_id), entry(std::move(key_entry)) {}

  const uint64_t id;
  const KeyRef entry;

  // The size that the kernel was last told and may have cached; 0: it was told none.
  std::atomic<uint32_t> told_bytes{0};
  // Pages of it were read into the page cache: through mmap or sendfile, which direct_io does not
  // reach. Stays set: the pages of one descriptor may be read while another one is released.
  std::atomic<bool> paged{false};

 private:
  friend class InodeTable;
  uint64_t lookups_ = 0;  // references that the kernel holds; guarded by the table
};

class InodeTable {
 public:
  explicit InodeTable(InodeIds ids);
  ~InodeTable();
  InodeTable(const InodeTable&) = delete;
  InodeTable& operator=(const InodeTable&) = delete;

  // The inode of a key, made if need be; the kernel gets one reference more.
  Inode* look_up(const KeyRef& entry);
  // Takes back `count` references: those the kernel gives back, or the one of a look_up() whose
  // reply never reached it. Unknown ids are left alone.
  void forget(uint64_t id, uint64_t count);

  // nullptr for what is not known.
  Inode* find(uint64_t id) const {
    const uint64_t index = id - ids_.first;
    if (index >> InodeIds::kBits != 0) return nullptr;
    const Leaf* leaf = leaf_at(index);
    if (leaf == nullptr) return nullptr;
    return leaf->inodes[index & (kLeafSize - 1)].load(std::memory_order_acquire);
  }

  // Calls `use` with every inode, some at a time with the table locked: `use` must be quick and
  // must not call the table.
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
    // Ids of this leaf that are not yet forgotten, those not yet given out included: at 0 nobody
    // can ask for it any more.
    std::atomic<uint32_t> open{kLeafSize};
  };
  struct Middle {
    std::array<std::atomic<Leaf*>, kMiddleSize> leaves{};
  };
  struct alignas(64) Stripe {
    std::mutex mutex;
  };

  const Leaf* leaf_at(uint64_t index) const {
    const Middle* middle = top_[index >> (kMiddleBits + kLeafBits)].load(std::memory_order_acquire);
    if (middle == nullptr) return nullptr;
    return middle->leaves[(index >> kLeafBits) & (kMiddleSize - 1)].load(std::memory_order_acquire);
  }
  Stripe& stripe_of(const KeyRef& entry);
  std::atomic<Inode*>* new_slot(uint64_t& id);
  void clear_slot(uint64_t id);

  const InodeIds ids_;
  std::vector<std::atomic<Middle*>> top_;
  std::array<Stripe, kStripes> stripes_;
  std::atomic<size_t> size_{0};
  std::mutex growing_;             // held while an id is given out
  std::atomic<uint64_t> next_{0};  // index of the next id
};

}  // namespace keyfs
