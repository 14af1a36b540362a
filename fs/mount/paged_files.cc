#include "fs/mount/paged_files.h"

#include <algorithm>
#include <utility>

namespace keyfs {

bool PagedFiles::add(Inode& inode, uint32_t version) {
  std::lock_guard lock(mutex_);
  inode.paged.store(true, std::memory_order_release);
  File& file = files_.try_emplace(inode.id, File{inode.id, inode.entry, {}}).first->second;
  if (std::find(file.versions.begin(), file.versions.end(), version) == file.versions.end()) {
    file.versions.push_back(version);
  }
  return !std::exchange(watched_, true);
}

bool PagedFiles::remove(Inode& inode) {
  KeyRef gone;  // released after the lock
  std::lock_guard lock(mutex_);
  if (!inode.paged.exchange(false)) return false;
  if (const auto found = files_.find(inode.id); found != files_.end()) {
    gone = std::move(found->second.entry);
    files_.erase(found);
  }
  return true;
}

void PagedFiles::remove_forgotten(uint64_t id) {
  KeyRef gone;
  std::lock_guard lock(mutex_);
  if (const auto found = files_.find(id); found != files_.end()) {
    gone = std::move(found->second.entry);
    files_.erase(found);
  }
}

std::vector<PagedFiles::File> PagedFiles::all() const {
  std::lock_guard lock(mutex_);
  std::vector<File> files;
  files.reserve(files_.size());
  for (const auto& [id, file] : files_) files.push_back(file);
  return files;
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
