// One pass over records, on which every operation on many keys stands: the healer's filling in and
// mending, adoption, rewrapping.
//
// The pass lists the store page by page, and reads only the records that the operation says it
// wants. It holds each against this host's memory, lets the operation change it, and writes it by
// compare-and-swap, again from the start if another writer came first. What it saw and wrote is
// noted in this host's memory. What the change is, and what the user is told, is the operation's.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts and to the operation,
// which outlive it and its tasks. Blocking: never. Errors: a key's are told to the operation; only
// those that end the whole pass are results.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"
#include "store/store.h"

namespace keyfs {

// What became of one key.
struct PassEnd {
  enum class What {
    kAbsent,
    kDeleted,    // left alone: there is nothing to work on
    kNotTaken,   // the operation did not take it
    kUnchanged,  // by the operation
    kWritten,
    kFailed,  // nothing was written, or that is unknown
  } what = What::kUnchanged;
  std::optional<Error> error;      // kFailed
  std::optional<Error> not_noted;  // kWritten: why this host's memory was not told
  bool store_silent = false;       // kFailed: the store did not answer in time
};

class RecordOperation {
 public:
  virtual ~RecordOperation() = default;

  // Whether to read the record behind an entry of the list, which is of no deleted key. What is not
  // wanted was seen with that; no other call follows for it.
  virtual bool wants(const ListPage::Entry& entry) = 0;
  // A key, or a further try of it, begins: what an earlier try found is void.
  virtual void begin() = 0;
  // Whether to work on this record. One that is taken is held against this host's memory first.
  virtual bool takes(const Record& record) = 0;
  // Changes the record. What it changed is written even if it failed in part, which it remembers.
  virtual Task<void> apply(Record& record, TimePoint deadline) = 0;
  // The key is done; once for each that began.
  virtual void finished(const std::string& id, const PassEnd& end) = 0;
  // A page of the list is done; a pass that is begun after `next` goes on from here.
  virtual void page_done(const std::string& next) { (void)next; }
};

struct PassOptions {
  std::string verb = "heal";  // for messages: "could not heal key orders"
  Duration call_deadline = std::chrono::seconds(10);
  bool writes = true;  // false: nothing is changed, and nothing noted
};

class Pass {
 public:
  // `memory` and `notebook`: this host's; either may be null.
  Pass(Loop& loop, Store& store, Log& log, PassOptions options, HostMemory* memory,
       Notebook* notebook);

  Task<PassEnd> one(std::string id, RecordOperation& operation, TimePoint deadline);
  // These keys. Once the store does not answer in time, the rest is told as failed, untried.
  Task<void> named(std::vector<std::string> ids, RecordOperation& operation, TimePoint deadline);
  // Every key of the store after `after` (empty: all). kTimeout after the deadline; otherwise the
  // store's errors.
  Task<Result<void>> all(std::string after, RecordOperation& operation, TimePoint deadline);
  // Writes down what was seen and not noted yet; why the memory was not told of all that was seen.
  Task<std::optional<Error>> end(TimePoint deadline);

 private:
  // nullopt: others changed the record.
  Task<std::optional<PassEnd>> attempt(const std::string& id, RecordOperation& operation,
                                       TimePoint deadline);
  // The memory is told what was written: why it could not be.
  Task<std::optional<Error>> note(Stored written, TimePoint deadline);
  // The memory is told that the store has a record, where that can be done; the notebook together
  // with others.
  Task<void> see(std::string id, Sighting what, TimePoint deadline);
  Task<void> write_seen(TimePoint deadline);
  TimePoint call_until(TimePoint deadline) const;
  std::string could_not(const std::string& id) const;

  Loop& loop_;
  Store& store_;
  Log& log_;
  const PassOptions options_;
  HostMemory* const memory_;
  Notebook* const notebook_;
  std::vector<SeenKey> seen_;    // and not in the notebook yet
  std::optional<Error> unseen_;  // why the notebook was not told what was seen
  bool notebook_out_ = false;    // it did not answer in time, and is told no more of that
};

}  // namespace keyfs
