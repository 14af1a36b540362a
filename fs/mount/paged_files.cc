#include "fs/mount/paged_files.h"

namespace keyfs {

bool PagedFiles::add(Inode& inode) {
  if (inode.paged.load(std::memory_order_acquire)) return false;
  std::lock_guard lock(mutex_);
  inode.paged.store(true, std::memory_order_release);
  files_.try_emplace(inode.id, inode.entry);
  return !std::exchange(watched_, true);
}

bool PagedFiles::remove(Inode& inode) {
  KeyRef gone;  // released after the lock
  std::lock_guard lock(mutex_);
  if (!inode.paged.exchange(false)) return false;
  if (const auto found = files_.find(inode.id); found != files_.end()) {
    gone = std::move(found->second);
    files_.erase(found);
  }
  return true;
}

void PagedFiles::remove_forgotten(uint64_t id) {
  KeyRef gone;
  std::lock_guard lock(mutex_);
  if (const auto found = files_.find(id); found != files_.end()) {
    gone = std::move(found->second);
    files_.erase(found);
  }
}

PagedFiles::Files PagedFiles::all() const {
  std::lock_guard lock(mutex_);
  return {files_.begin(), files_.end()};
}

bool PagedFiles::may_end() {
  std::lock_guard lock(mutex_);
  if (!files_.empty()) return false;
  watched_ = false;
  return true;
}

size_t PagedFiles::size() const {
  std::lock_guard lock(mutex_);
  return files_.size();
}

}  // namespace keyfs
