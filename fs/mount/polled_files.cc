#include "fs/mount/polled_files.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace keyfs {
namespace {

// libfuse has it in the first member of its struct, and no function for it.
uint64_t number_of(const PollHandle& poll) {
  uint64_t number = 0;
  std::memcpy(&number, static_cast<const void*>(poll.get()), sizeof number);
  return number;
}

}  // namespace

void PollHandleEnd::operator()(fuse_pollhandle* handle) const { fuse_pollhandle_destroy(handle); }

bool PolledFiles::add(uint64_t node, uint64_t handle, const KeyRef& entry, PollHandle poll) {
  PollHandle before;
  std::lock_guard lock(mutex_);
  if (closed_) return false;
  File& file = files_[{node, handle, number_of(poll)}];
  if (!file.entry) file.entry = entry;
  before = std::exchange(file.poll, std::move(poll));
  count_ = files_.size();
  return !std::exchange(watched_, true);
}

std::vector<PollHandle> PolledFiles::released(uint64_t node, uint64_t handle, size_t left) {
  std::vector<PollHandle> woken;
  std::vector<KeyRef> gone;  // released after the lock
  std::lock_guard lock(mutex_);
  const auto first = files_.lower_bound({node, handle, 0});
  auto last = first;
  size_t polled = 0;
  while (last != files_.end() && std::get<0>(last->first) == node &&
         std::get<1>(last->first) == handle) {
    ++last;
    ++polled;
  }
  if (polled <= left) return woken;
  for (auto file = first; file != last; file = files_.erase(file)) {
    woken.push_back(std::move(file->second.poll));
    gone.push_back(std::move(file->second.entry));
  }
  count_ = files_.size();
  return woken;
}

std::vector<PollHandle> PolledFiles::take(const KeyEntry& entry, uint32_t but) {
  std::vector<PollHandle> woken;
  std::vector<KeyRef> gone;
  std::lock_guard lock(mutex_);
  for (auto file = files_.begin(); file != files_.end();) {
    const auto version = static_cast<uint32_t>(std::get<1>(file->first));
    if (file->second.entry.get() != &entry || version == but) {
      ++file;
      continue;
    }
    woken.push_back(std::move(file->second.poll));
    gone.push_back(std::move(file->second.entry));
    file = files_.erase(file);
  }
  count_ = files_.size();
  return woken;
}

std::vector<KeyRef> PolledFiles::entries() const {
  std::vector<KeyRef> all;
  {
    std::lock_guard lock(mutex_);
    all.reserve(files_.size());
    for (const auto& [key, file] : files_) all.push_back(file.entry);
  }
  const auto by_address = [](const KeyRef& a, const KeyRef& b) { return a.get() < b.get(); };
  std::sort(all.begin(), all.end(), by_address);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

bool PolledFiles::may_end() {
  std::lock_guard lock(mutex_);
  if (!files_.empty()) return false;
  watched_ = false;
  return true;
}

void PolledFiles::close() {
  std::map<Key, File> gone;
  std::lock_guard lock(mutex_);
  closed_ = true;
  gone.swap(files_);
  count_ = 0;
}

}  // namespace keyfs
