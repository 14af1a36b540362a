// Files that keyfs generates, under .keyfs/ in the mount: one class each, in one list that lookup,
// getattr, readdir and read all use.
//
// Thread-safety: render() runs on the loop's thread, where everything that it reports may be read;
// the rest, once the list is built, from any thread. Ownership: VirtualFiles owns its files; what
// they report on outlives them. Blocking: never. Errors: none.
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
  // The file's name; constant.
  virtual std::string_view name() const = 0;
  // The contents now.
  virtual std::string render() = 0;

  // The size of what was last rendered, which stat(2) shows: a program that opens the file and gets
  // its size sees the size of what it will read.
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

  // In listing and numbering order: later versions append.
  void add(std::unique_ptr<VirtualFile> file) { files_.push_back(std::move(file)); }

  size_t size() const { return files_.size(); }
  VirtualFile& at(size_t index) const { return *files_.at(index); }
  // The index, or size() if there is no file of that name.
  size_t find(std::string_view name) const {
    size_t i = 0;
    while (i < files_.size() && files_[i]->name() != name) ++i;
    return i;
  }

 private:
  std::vector<std::unique_ptr<VirtualFile>> files_;
};

}  // namespace keyfs
