// A directory as one opendir(3) sees it: names by number, as many as are known so far, and where
// more come from. And those that are open.
//
// The names are those that whoever opened the directory may see, each page by the policy of the
// time when it came: like a key's file, a directory is decided by OPEN, and who reads may have
// dropped the rights that it opened with.
//
// Thread-safety: names may be read on any thread while the loop adds to them; all else as it is
// marked. Ownership: a handle shares pages and listing with others; it is let go on the loop's
// thread, as listings are. Blocking: never. Errors: none.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/policy/policy.h"
#include "fs/upkeep/key_list.h"

namespace keyfs {

// Groups that were asked for when the directory was opened.
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
  // Of .keyfs, which has no keys.
  DirectoryHandle() : complete_(true) {}
  explicit DirectoryHandle(std::shared_ptr<KeyListing> listing) : listing_(std::move(listing)) {}

  // Set before the handle is shared.
  Caller opener;
  RememberedGroups groups;  // when there is more than one page
  bool shows_own = false;   // .keyfs is listed

  // On the loop.
  KeyListing& listing() { return *listing_; }  // until complete
  size_t pages() const { return pages_; }
  Duration waited{};  // for the next page, by READDIRs that were answered without it
  // The next page, and which of its keys are to be seen.
  void add(const KeyPageRef& page, std::vector<uint32_t> visible);

  // Gives the names from number `from` on to `take(name, number)`, until that is false or no more
  // are known. False when it was: there was no room.
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

// From any thread. What a file handle says is a pointer, which is the kernel's until RELEASEDIR.
class OpenDirectories {
 public:
  uint64_t add(std::shared_ptr<DirectoryHandle> handle);
  // Valid as long as a request for it is unanswered.
  static DirectoryHandle& at(uint64_t handle) {
    return *reinterpret_cast<DirectoryHandle*>(handle);
  }
  std::shared_ptr<DirectoryHandle> share(uint64_t handle) const;
  // To be let go on the loop.
  std::shared_ptr<DirectoryHandle> remove(uint64_t handle);
  std::vector<std::shared_ptr<DirectoryHandle>> remove_all();

 private:
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<DirectoryHandle>> all_;
};

}  // namespace keyfs
