// Files that keyfs itself writes, under .keyfs/ in the mount. One class each, one list that lookup,
// getattr, readdir and read all walk.
//
// Thread-safety: render() runs on the loop's thread, where all that it tells about may be asked;
// the rest, once the list is built, from any thread. Ownership: VirtualFiles owns its files; what
// they tell about outlives them. Blocking: never. Errors: none; a file tells what it knows.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace keyfs {

class VirtualFile {
 public:
  virtual ~VirtualFile() = default;
  // A file name; stays the same.
  virtual std::string_view name() const = 0;
  // The contents now.
  virtual std::string render() = 0;

  // The size of what was rendered last, which is the size that stat(2) shows: a program that opens
  // the file and asks for its size is told that of what it will read.
  uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  bool rendered() const { return rendered_.load(std::memory_order_acquire); }
  std::shared_ptr<const std::string> snapshot() {
    auto text = std::make_shared<const std::string>(render());
    size_.store(text->size(), std::memory_order_relaxed);
    rendered_.store(true, std::memory_order_release);
    return text;
  }

 private:
  std::atomic<uint64_t> size_{0};
  std::atomic<bool> rendered_{false};
};

class VirtualFiles {
 public:
  // The directory that holds them.
  static constexpr std::string_view kDirectory = ".keyfs";

  // In the order in which they are listed and numbered: later versions append.
  void add(std::unique_ptr<VirtualFile> file) { files_.push_back(std::move(file)); }

  size_t size() const { return files_.size(); }
  VirtualFile& at(size_t index) const { return *files_.at(index); }
  // The index, or size() when there is none of that name.
  size_t find(std::string_view name) const {
    size_t i = 0;
    while (i < files_.size() && files_[i]->name() != name) ++i;
    return i;
  }

 private:
  std::vector<std::unique_ptr<VirtualFile>> files_;
};

}  // namespace keyfs
