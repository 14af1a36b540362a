// A directory as seen by one opendir(3): the names known so far, by number, and where more come
// from. Also the table of open directories.
//
// The names are those that the user who opened the directory may see, each page by the policy at
// the time it arrived: as for a key's file, OPEN decides, and the reading process may have dropped
// the rights that it opened with.
//
// Thread-safety: names may be read on any thread while the loop adds to them; everything else as
// marked. Ownership: a handle shares pages and listing with others; it is released on the loop's
// thread, as listings are. Blocking: never. Errors: none.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/policy/policy.h"
#include "fs/upkeep/key_list.h"

namespace keyfs {

// The groups looked up when the directory was opened.
class RememberedGroups final : public SupplementaryGroups {
 public:
  void remember(std::optional<std::span<const gid_t>> groups) {
    known_ = groups.has_value();
    if (groups) groups_.assign(groups->begin(), groups->end());
  }
  std::optional<std::span<const gid_t>> get() override {
    if (!known_) return std::nullopt;
    return groups_;
  }

 private:
  bool known_ = false;
  std::vector<gid_t> groups_;
};

class DirectoryHandle {
 public:
  // For a directory that has no keys.
  DirectoryHandle() : complete_(true) {}
  explicit DirectoryHandle(std::shared_ptr<KeyListing> listing) : listing_(std::move(listing)) {}

  // Set before the handle is shared.
  Caller opener;
  RememberedGroups groups;         // if there is more than one page
  bool shows_own = false;          // .keyfs is listed, or the files in it
  std::vector<uint32_t> versions;  // of a key's directory
  struct Entry {
    std::string name;
    uint64_t number;
    bool directory;
  };
  std::vector<Entry> entries;  // of .keyfs/sign, and directories below it

  // On the loop's thread.
  KeyListing& listing() { return *listing_; }  // until complete
  size_t pages() const { return pages_; }
  Duration waited{};  // time that READDIRs answered without a next page have waited for it
  // The next page, and which of its keys are visible.
  void add(const KeyPageRef& page, std::vector<uint32_t> visible);

  // Passes the names from number `from` on to `take(name, number)`, until that returns false or no
  // more are known. False if it did: there was no room.
  template <class Take>
  bool names_from(size_t from, Take take) const {
    std::lock_guard lock(mutex_);
    for (size_t part = part_with(from); part < parts_.size(); ++part) {
      const Part& names = parts_[part];
      for (; from < names.first + names.count(); ++from) {
        const size_t index = from - names.first;
        const auto key = (*names.page)[names.visible.empty() ? index : names.visible[index]];
        if (!take(key.id, from)) return false;
      }
    }
    return true;
  }
  // No more names will be known.
  bool complete() const {
    std::lock_guard lock(mutex_);
    return complete_;
  }

 private:
  struct Part {
    KeyPageRef page;
    std::vector<uint32_t> visible;  // empty: all
    size_t first;                   // the number of its first name
    size_t count() const { return visible.empty() ? page->size() : visible.size(); }
  };
  size_t part_with(size_t number) const;

  std::shared_ptr<KeyListing> listing_;
  size_t pages_ = 0;
  mutable std::mutex mutex_;
  std::vector<Part> parts_;
  bool complete_ = false;
};

// From any thread. The file handle is a pointer, which the kernel holds until RELEASEDIR.
class OpenDirectories {
 public:
  uint64_t add(std::shared_ptr<DirectoryHandle> handle);
  // Valid while a request for it is pending.
  static DirectoryHandle& at(uint64_t handle) {
    return *reinterpret_cast<DirectoryHandle*>(handle);
  }
  std::shared_ptr<DirectoryHandle> share(uint64_t handle) const;
  // Release the result on the loop's thread.
  std::shared_ptr<DirectoryHandle> remove(uint64_t handle);
  std::vector<std::shared_ptr<DirectoryHandle>> remove_all();

 private:
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<DirectoryHandle>> all_;
};

}  // namespace keyfs
