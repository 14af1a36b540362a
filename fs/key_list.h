// The ids that exist, for directory listings.
//
// Thread-safety: none; on the loop's thread. The list that comes back never changes and may be read
// anywhere. Ownership: refers to loop and store. Blocking: never; dropping the task leaves the
// flight, and the last one out ends it. Errors: those of Store::list. Creates and unwraps nothing.
#pragma once

#include <memory>
#include <string>
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
  KeyList(Loop& loop, Store& store, Duration reuse_for);

  // All ids; a list that is younger than `reuse_for` is given again, and all who ask at the same
  // time share one pass over the store.
  Task<Result<KeyNames>> get(TimePoint deadline);
  // A key was made, disabled or deleted: the next get() asks the store.
  void changed();

 private:
  using Flights = SingleFlight<Result<KeyNames>>;
  Task<Result<KeyNames>> read(TimePoint deadline, uint64_t changes);

  Loop& loop_;
  Store& store_;
  const Duration reuse_for_;
  Flights flights_;
  uint64_t changes_ = 0;
  KeyNames last_;
  TimePoint last_at_{};
};

}  // namespace keyfs
