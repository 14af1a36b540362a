// The ids that exist, for directory listings.
//
// Thread-safety: none; on the loop's thread, but for listed_bytes(). The list that comes back never
// changes and may be read anywhere. Ownership: refers to loop and store. Blocking: never; dropping
// the task leaves the flight, and the last one out ends it. Errors: those of Store::list. Creates
// and unwraps nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "store/store.h"

namespace keyfs {

struct ListedKey {
  std::string id;
  KeyState state = KeyState::kEnabled;
  uint32_t bytes = 0;
  bool corrupt = false;
};
// In the store's order. Ids that are no file names (another program's rows) are left out, and so
// are deleted keys.
using KeyNames = std::shared_ptr<const std::vector<ListedKey>>;

class KeyList {
 public:
  // usual_bytes: the size that most keys have.
  KeyList(Loop& loop, Store& store, Duration reuse_for, uint32_t usual_bytes);

  // All ids; a list that is younger than `reuse_for` is given again, and all who ask at the same
  // time share one pass over the store.
  Task<Result<KeyNames>> get(TimePoint deadline);
  // A key was made, disabled or deleted: the next get() asks the store.
  void changed();

  // The size that the last list, however old, gave for this key; nullopt when it was the usual one,
  // or the id was not in it. From any thread.
  std::optional<uint32_t> listed_bytes(std::string_view id) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view id) const { return std::hash<std::string_view>()(id); }
  };
  using Sizes = std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>>;
  using Flights = SingleFlight<Result<KeyNames>>;
  Task<Result<KeyNames>> read(TimePoint deadline, uint64_t changes);

  Loop& loop_;
  Store& store_;
  const Duration reuse_for_;
  const uint32_t usual_bytes_;
  Flights flights_;
  uint64_t changes_ = 0;
  KeyNames last_;
  TimePoint last_at_{};
  mutable std::mutex sizes_mutex_;
  Sizes sizes_;  // those that are not usual
};

}  // namespace keyfs
