// The ids that exist, for directory listings: one pass over the store, page by page, as its readers
// ask for more.
//
// A pass continues only while somebody waits for its next page: a program that opens the directory
// and never reads it (openat(2), fsync(2)) costs one page. A pass keeps its pages for all its
// readers, so a slow reader loses nothing, and the memory is that of one list of names; it ends
// with its last reader, even in the middle of a page.
//
// Thread-safety: none; on the loop's thread, where listings are also released; except
// listed_bytes(), from any thread, and KeyPage, which is immutable and may be read anywhere.
// Ownership: refers to loop and store; the listings refer to the KeyList, which outlives them.
// Blocking: never. Creates and unwraps nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/siphash.h"
#include "fs/upkeep/listed_names.h"
#include "store/store.h"

namespace keyfs {

struct ListedKey {
  std::string_view id;
  KeyState state = KeyState::kEnabled;
  uint32_t bytes = 0;  // of the current version
  bool corrupt = false;
};

// Part of a list, in the store's order. Some tens of bytes per key, in two allocations.
class KeyPage {
 public:
  KeyPage(std::span<const ListedKey> keys, bool last);

  size_t size() const { return keys_.size(); }
  ListedKey operator[](size_t index) const;
  // No page comes after it.
  bool last() const { return last_; }

 private:
  struct Key {
    uint32_t place;  // of its id in text_
    uint32_t bytes;
    uint8_t length;
    KeyState state;
    bool corrupt;
  };
  std::string text_;
  std::vector<Key> keys_;
  const bool last_;
};
using KeyPageRef = std::shared_ptr<const KeyPage>;

// The keys, as seen by readers that share a pass. A name that is in the store from KeyList::open()
// to the last page appears once. Ids that are not valid file names (another program's rows) are
// left out, and so are deleted keys.
class KeyListing {
 public:
  virtual ~KeyListing() = default;
  // Pages are requested in order, from 0 on; earlier ones stay available. Dropping the task leaves
  // the page that it waits for. Errors: those of Store::list; the next request reads it again.
  virtual Task<Result<KeyPageRef>> page(size_t number, TimePoint deadline) = 0;
  // The same page if it was already read; otherwise null. Asks nobody.
  virtual KeyPageRef known(size_t number) const = 0;
};

class KeyList {
 public:
  // A pass still in progress can be joined for this long after its first page was requested.
  static constexpr Duration kJoin = std::chrono::seconds(10);

  // usual_bytes: the size that most keys have. `hash` has a key that callers do not know. A page
  // holds at most `page` keys.
  KeyList(Loop& loop, Store& store, Duration reuse_for, uint32_t usual_bytes,
          const SipHash& hash = {}, size_t page = 1000);
  ~KeyList();
  KeyList(const KeyList&) = delete;
  KeyList& operator=(const KeyList&) = delete;

  // A complete list younger than `reuse_for` is reused, and concurrent callers share one pass over
  // the store. Nothing is read before the first page is requested.
  std::shared_ptr<KeyListing> open();
  // A key was created, disabled or deleted: the next open() asks the store.
  void changed();

  // The size that this key was last listed with, in the newest pass or the last complete one,
  // however old; nullopt if it was in neither. From any thread.
  std::optional<uint32_t> listed_bytes(std::string_view id) const;

 private:
  class Pass;
  struct Size {
    uint32_t bytes;
    uint64_t seen;  // how many passes had begun by then
  };
  using Sizes = std::unordered_map<std::string, Size, SipHash, std::equal_to<>>;
  struct Expire : Ready {
    explicit Expire(KeyList& owner);
    KeyList& list;
  };

  void note_sizes(const KeyPage& page, ListedNames& usual);
  void begin_names(const std::shared_ptr<ListedNames>& usual);
  void keep_names(const std::shared_ptr<ListedNames>& usual);
  // Those of keys that have not been seen since this pass began.
  Task<void> forget_sizes(uint64_t pass);
  void keep(std::shared_ptr<Pass> complete);
  bool may_reuse(const Pass& complete) const;
  void expire();

  Loop& loop_;
  Store& store_;
  const Duration reuse_for_;
  const uint32_t usual_bytes_;
  const size_t page_;
  uint64_t changes_ = 0;
  uint64_t passes_ = 0;
  std::weak_ptr<Pass> newest_;
  std::shared_ptr<Pass> last_;  // complete, as long as it may be reused
  Expire expire_;
  Timer expiry_;
  mutable std::mutex sizes_mutex_;  // guards what follows
  Sizes sizes_;                     // the unusual ones
  // Names of keys with the usual size: from the newest pass, and from the last complete one.
  std::shared_ptr<ListedNames> growing_;
  std::shared_ptr<ListedNames> complete_;
};

}  // namespace keyfs
