#include "fs/mount/directory_handle.h"

#include <algorithm>
#include <utility>

namespace keyfs {

void DirectoryHandle::add(const KeyPageRef& page, std::vector<uint32_t> visible) {
  ++pages_;
  const bool last = page->last();
  if (last) listing_ = nullptr;
  const size_t count = visible.size();
  if (count == page->size()) visible = {};
  visible.shrink_to_fit();
  std::lock_guard lock(mutex_);
  if (count > 0) {
    const size_t first = parts_.empty() ? 0 : parts_.back().first + parts_.back().count();
    parts_.push_back({page, std::move(visible), first});
  }
  complete_ = last;
}

size_t DirectoryHandle::part_with(size_t number) const {
  const auto after =
      std::upper_bound(parts_.begin(), parts_.end(), number,
                       [](size_t wanted, const Part& part) { return wanted < part.first; });
  const auto part = static_cast<size_t>(after - parts_.begin());
  if (part == 0 || number >= parts_[part - 1].first + parts_[part - 1].count()) return part;
  return part - 1;
}

uint64_t OpenDirectories::add(std::shared_ptr<DirectoryHandle> handle) {
  const auto number = reinterpret_cast<uint64_t>(handle.get());
  std::lock_guard lock(mutex_);
  all_.emplace(number, std::move(handle));
  return number;
}

std::shared_ptr<DirectoryHandle> OpenDirectories::share(uint64_t handle) const {
  std::lock_guard lock(mutex_);
  return all_.at(handle);
}

std::shared_ptr<DirectoryHandle> OpenDirectories::remove(uint64_t handle) {
  std::lock_guard lock(mutex_);
  const auto found = all_.find(handle);
  auto removed = std::move(found->second);
  all_.erase(found);
  return removed;
}

std::vector<std::shared_ptr<DirectoryHandle>> OpenDirectories::remove_all() {
  std::vector<std::shared_ptr<DirectoryHandle>> removed;
  std::lock_guard lock(mutex_);
  for (auto& [number, handle] : all_) removed.push_back(std::move(handle));
  all_.clear();
  return removed;
}

}  // namespace keyfs
