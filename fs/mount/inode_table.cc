#include "fs/mount/inode_table.h"

#include "fs/mount/key_words.h"

namespace keyfs {
namespace {

void destroy(Inode& inode) {
  if (inode.view() == View::kKey) {
    delete &inode;
  } else {
    delete static_cast<ViewInode*>(&inode);
  }
}

}  // namespace

InodeTable::InodeTable(InodeIds ids) : ids_(ids), top_(kTopSize) {}

InodeTable::~InodeTable() {
  for_each([](Inode& inode) { destroy(inode); });
  for (auto& slot : top_) {
    const Middle* middle = slot.load();
    if (middle == nullptr) continue;
    for (const auto& leaf : middle->leaves) delete leaf.load();
    delete middle;
  }
}

InodeTable::Stripe& InodeTable::stripe_of(const KeyEntry* entry) {
  // Entries are at least 64 bytes apart; the product's high bits spread them.
  const auto address = reinterpret_cast<uintptr_t>(entry);
  return stripes_[(address >> 4) * 0x9e3779b97f4a7c15U >> 59];
}

// The kernel has one more reference.
void InodeTable::again_locked(Inode& known) {
  ++known.lookups_;
  // The kernel was told to forget it, and has asked again: it may never hear of that twice.
  if (known.known_.load(std::memory_order_relaxed) != Inode::Known::kLeaving) return;
  std::lock_guard list(lone_mutex_);
  if (known.known_ != Inode::Known::kLeaving) return;
  --leaving_;
  append_lone_locked(known);
}

Inode* InodeTable::look_up(const KeyRef& entry, bool lone) {
  std::lock_guard lock(stripe_of(entry.get()).mutex);
  if (Inode* known = find(node_of(*entry)); known != nullptr) {
    again_locked(*known);
    return known;
  }
  uint64_t id = 0;
  std::atomic<Inode*>* slot = new_slot(id);
  if (slot == nullptr) return nullptr;
  const uint32_t number = file_number(entry->id());
  auto* inode = new Inode(id, entry, numbers_.take(number) ? number : 0);
  inode->lookups_ = 1;
  slot->store(inode, std::memory_order_release);
  set_node(*entry, id);
  ++size_;
  if (lone) {
    std::lock_guard list(lone_mutex_);
    append_lone_locked(*inode);
  }
  return inode;
}

ViewInode* InodeTable::look_up(const KeyRef& entry, View view, uint32_t version, uint64_t parent) {
  Stripe& stripe = stripe_of(entry.get());
  std::lock_guard lock(stripe.mutex);
  const ViewKey key{entry.get(), view, version};
  if (const auto known = stripe.views.find(key); known != stripe.views.end()) {
    // Its directory may have been forgotten before it, and be another node now.
    known->second->parent_ = parent;
    again_locked(*known->second);
    return known->second;
  }
  uint64_t id = 0;
  std::atomic<Inode*>* slot = new_slot(id);
  if (slot == nullptr) return nullptr;
  const uint32_t number = file_number(path_of(view, entry->id(), version));
  auto* inode = new ViewInode(id, entry, numbers_.take(number) ? number : 0, view, version, parent);
  inode->lookups_ = 1;
  slot->store(inode, std::memory_order_release);
  stripe.views.emplace(key, inode);
  ++size_;
  std::lock_guard list(lone_mutex_);
  append_lone_locked(*inode);
  return inode;
}

void InodeTable::forget(uint64_t id, uint64_t count) {
  // The kernel still holds the references that it gives back here, so the inode is there.
  Inode* inode = find(id);
  if (inode == nullptr || count == 0) return;
  const KeyRef entry = inode->entry;  // released after the lock: it may be the last one
  Stripe& stripe = stripe_of(entry.get());
  std::lock_guard lock(stripe.mutex);
  if (count < inode->lookups_) {
    inode->lookups_ -= count;
    return;
  }
  settle(*inode);
  if (inode->view() == View::kKey) {
    set_node(*entry, 0);
  } else {
    stripe.views.erase({entry.get(), inode->view(), inode->version()});
  }
  clear_slot(id);
  if (inode->number_ != 0) numbers_.give_back(inode->number_);
  destroy(*inode);
  --size_;
}

std::optional<InodeTable::TakenId> InodeTable::take_id(std::string_view path) {
  uint64_t id = 0;
  if (new_slot(id) == nullptr) return std::nullopt;
  const uint32_t number = file_number(path);
  return TakenId{id, numbers_.take(number) ? number : 0};
}

void InodeTable::give_back_id(TakenId taken) {
  // With any stripe locked, for_each() is not in the leaf.
  std::lock_guard lock(stripes_.front().mutex);
  clear_slot(taken.id);
  if (taken.number != 0) numbers_.give_back(taken.number);
}

void InodeTable::append_lone_locked(Inode& inode) {
  inode.known_ = Inode::Known::kLone;
  inode.older_ = newest_lone_;
  inode.newer_ = nullptr;
  (newest_lone_ != nullptr ? newest_lone_->newer_ : oldest_lone_) = &inode;
  newest_lone_ = &inode;
  ++lone_;
}

void InodeTable::unlink_lone_locked(Inode& inode) {
  (inode.older_ != nullptr ? inode.older_->newer_ : oldest_lone_) = inode.newer_;
  (inode.newer_ != nullptr ? inode.newer_->older_ : newest_lone_) = inode.older_;
  inode.older_ = inode.newer_ = nullptr;
  --lone_;
}

void InodeTable::settle_slowly(Inode& inode) {
  std::lock_guard list(lone_mutex_);
  const auto before = inode.known_.exchange(Inode::Known::kSettled);
  if (before == Inode::Known::kLone) unlink_lone_locked(inode);
  if (before == Inode::Known::kLeaving) --leaving_;
}

void InodeTable::make_lone(Inode& inode) {
  std::lock_guard list(lone_mutex_);
  if (inode.known_ == Inode::Known::kSettled) append_lone_locked(inode);
}

std::optional<LeavingName> InodeTable::take_oldest_lone(size_t most) {
  if (lone() <= most) return std::nullopt;
  std::lock_guard list(lone_mutex_);
  if (lone() <= most) return std::nullopt;
  Inode& oldest = *oldest_lone_;  // forget() removes it from the list before destroying it
  unlink_lone_locked(oldest);
  oldest.known_ = Inode::Known::kLeaving;
  ++leaving_;
  return LeavingName{oldest.parent(), oldest.name()};
}

void InodeTable::if_known(uint64_t id, const KeyRef& entry,
                          const std::function<void(Inode&)>& use) {
  Stripe& stripe = stripe_of(entry.get());
  std::lock_guard lock(stripe.mutex);
  if (node_of(*entry) == id) {
    if (Inode* inode = find(id); inode != nullptr) use(*inode);
    return;
  }
  for (auto view = stripe.views.lower_bound({entry.get(), View::kKey, 0});
       view != stripe.views.end() && std::get<0>(view->first) == entry.get(); ++view) {
    if (view->second->id == id) return use(*view->second);
  }
}

void InodeTable::for_each_view(const KeyEntry& entry, const std::function<void(ViewInode&)>& use) {
  Stripe& stripe = stripe_of(&entry);
  std::lock_guard lock(stripe.mutex);
  for (auto view = stripe.views.lower_bound({&entry, View::kKey, 0});
       view != stripe.views.end() && std::get<0>(view->first) == &entry; ++view) {
    use(*view->second);
  }
}

void InodeTable::for_each(const std::function<void(Inode&)>& use) {
  const uint64_t end = next_.load();
  for (uint64_t first = 0; first < end; first += kLeafSize) {
    // With all stripes locked (always in the same order) no inode or leaf is freed.
    std::array<std::unique_lock<std::mutex>, kStripes> locks;
    for (size_t i = 0; i < kStripes; ++i) locks[i] = std::unique_lock(stripes_[i].mutex);
    const Leaf* leaf = leaf_at(first);
    if (leaf == nullptr) continue;
    for (const auto& slot : leaf->inodes) {
      if (Inode* inode = slot.load(std::memory_order_acquire)) use(*inode);
    }
  }
}

std::atomic<Inode*>* InodeTable::new_slot(uint64_t& id) {
  std::lock_guard lock(growing_);
  if (next_ >> InodeIds::kBits != 0) return nullptr;
  const uint64_t index = next_++;
  id = ids_.first + index;
  auto& middle_slot = top_[index >> (kMiddleBits + kLeafBits)];
  Middle* middle = middle_slot.load(std::memory_order_relaxed);
  if (middle == nullptr) {
    middle = new Middle();
    middle_slot.store(middle, std::memory_order_release);
  }
  auto& leaf_slot = middle->leaves[(index >> kLeafBits) & (kMiddleSize - 1)];
  Leaf* leaf = leaf_slot.load(std::memory_order_relaxed);
  if (leaf == nullptr) {
    leaf = new Leaf();
    leaf_slot.store(leaf, std::memory_order_release);
  }
  return &leaf->inodes[index & (kLeafSize - 1)];
}

// A leaf whose ids were all used and all forgotten is freed, so that a mount whose names come and
// go does not grow forever. No reader can be in it: find() is for ids that the kernel still refers
// to.
void InodeTable::clear_slot(uint64_t id) {
  const uint64_t index = id - ids_.first;
  Middle* middle = top_[index >> (kMiddleBits + kLeafBits)].load(std::memory_order_acquire);
  auto& leaf_slot = middle->leaves[(index >> kLeafBits) & (kMiddleSize - 1)];
  Leaf* leaf = leaf_slot.load(std::memory_order_acquire);
  leaf->inodes[index & (kLeafSize - 1)].store(nullptr, std::memory_order_release);
  if (leaf->open.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    leaf_slot.store(nullptr, std::memory_order_release);
    delete leaf;
  }
}

}  // namespace keyfs
