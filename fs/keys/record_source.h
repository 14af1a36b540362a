// Where the keyring gets records from: the store, with this host's memory.
//
// This holds the long-lived state: whether store and memory have answered recently. The questions
// of one flight are an Inquiry (fs/keys/inquiry.h).
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts. Blocking: never.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "fs/keys/host_memory.h"
#include "store/store.h"

namespace keyfs {

class RecordSource {
 public:
  struct Options {
    Duration serve_stale_for = std::chrono::hours(24);
    Duration store_patience = std::chrono::seconds(1);
    // After a store was down, it gets no patience for this long, provided that the memory can help.
    Duration store_pause = std::chrono::seconds(5);
    // The longest wait of a read for the memory. After a memory took longer, reads do not wait for
    // it for `memory_pause`; creations still do.
    Duration memory_patience = std::chrono::milliseconds(500);
    Duration memory_pause = std::chrono::seconds(5);
  };
  struct Seen {
    std::optional<Stored> stored;  // nullopt: the store has none (the memory never says so)
    bool from_memory = false;
    bool strong = false;     // a strongly consistent answer from the store
    TimePoint confirmed_at;  // when the record was last known to be current
  };

  RecordSource(Loop& loop, Store& store, HostMemory& memory, Log& log, Options options)
      : loop_(loop), store_(store), memory_(memory), log_(log), options_(options) {}

  // The store alone, strongly consistent. Errors: the store's.
  Task<Result<Seen>> ask_store(std::string id, TimePoint deadline);
  // The memory alone, as long as a read waits for it; kUnknown when it says nothing in time.
  Task<Recall> ask_memory(std::string id, TimePoint deadline);

 private:
  friend class Inquiry;
  Duration store_patience(TimePoint deadline) const;
  TimePoint memory_until(TimePoint deadline) const;
  Recall memory_is_slow();

  Loop& loop_;
  Store& store_;
  HostMemory& memory_;
  Log& log_;
  const Options options_;
  std::optional<TimePoint> store_out_at_;
  std::optional<TimePoint> memory_out_at_;
};

}  // namespace keyfs
