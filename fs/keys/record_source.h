// Where the keyring gets a record from: the store, or this host's replica when the store is out.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts. Blocking: never.
// Errors: the store's, when the replica cannot help; kCorrupt at once, since a record that is
// wrong in the store must not be papered over with an older one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "fs/keys/replica.h"
#include "store/store.h"

namespace keyfs {

class RecordSource {
 public:
  struct Options {
    Duration serve_stale_for = std::chrono::hours(24);
    Duration store_patience = std::chrono::seconds(1);
    // A store that was out is given no patience for so long, as long as the replica can help.
    Duration store_pause = std::chrono::seconds(5);
    Duration replica_patience = std::chrono::milliseconds(500);
  };
  struct Seen {
    std::optional<Stored> stored;  // nullopt: the store has none (the replica never says so)
    bool from_replica = false;
    TimePoint confirmed_at;  // when the store said so
  };

  RecordSource(Loop& loop, Store& store, Replica* replica, Options options)
      : loop_(loop), store_(store), replica_(replica), options_(options) {}

  // Store first; the replica when the store fails or keeps us waiting.
  Task<Result<Seen>> look_up(std::string id, TimePoint deadline);
  // The store alone.
  Task<Result<Seen>> ask_store(std::string id, TimePoint deadline);
  // Whether this host remembers a record of that id, however old.
  Task<bool> remembers(std::string id);

 private:
  // From the replica, if it was confirmed recently enough; `why_not` says why not.
  Task<std::optional<Seen>> look_into_replica(std::string id, std::string& why_not);
  Result<Seen> from_store(std::string_view id, TimePoint asked_at, Result<Got> got);
  Duration patience(TimePoint deadline) const;

  Loop& loop_;
  Store& store_;
  Replica* replica_;
  const Options options_;
  std::optional<TimePoint> store_out_at_;
};

}  // namespace keyfs
