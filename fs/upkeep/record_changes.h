// Reads a record for an operator's command, changes it by compare-and-swap, and notes in this
// host's memory what it found or did.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never; each call is a task. Errors: of each kInvalid for a key that does not exist,
// kCorrupt for a record that went back according to this host's memory, and the store's.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/notebook.h"
#include "store/store.h"

namespace keyfs {

// kInvalid for what is no key id.
Result<void> check_id(const std::string& id);
// The error for an id that is not in the store.
Error no_such_key(const std::string& id);
// The same to somebody who may have meant to make it.
Error no_such_key_yet(const std::string& id);
// Its word for scripts: "absent", as in the audit, or the code's.
std::string_view word_of(const Error& error, const std::string& id);

// The errors, after "could not ...", for a record whose versions cannot be changed.
Result<void> check_may_change(const Record& record);

// For writers that lose a race again and again: each looks again a little later.
class Tries {
 public:
  explicit Tries(Loop& loop) : loop_(loop) {}
  // False when it was tried often enough. The first try comes at once.
  Task<bool> next();
  static Error others(const std::string& what);

 private:
  static constexpr int kMost = 12;
  Loop& loop_;
  int count_ = 0;
};

class RecordChanges {
 public:
  RecordChanges(Loop& loop, Store& store, HostMemory& memory, Notebook& notebook);

  // `what`: the beginning of messages, "could not disable key orders". The record, strongly
  // consistent and in keeping with this host's memory.
  Task<Result<Stored>> look_up(std::string id, std::string what, TimePoint deadline);

  // Changes a record that was looked up, and says whether there is something to write.
  using Edit = std::function<Result<bool>(Record&)>;
  struct Changed {
    Stored stored;                   // as it is in the store now
    bool written = false;            // false: nothing was to be changed
    std::optional<Error> not_noted;  // why this host will not remember it
  };
  // Applies `edit` to what the store has, again if others change it meanwhile. Also the errors of
  // `edit`; kUnavailable if others keep changing the record.
  Task<Result<Changed>> change(std::string id, std::string what, Edit edit, TimePoint deadline);

  // Why it could not be noted, or why the memory could not be asked about what look_up() found: then
  // it is another memory than what was seen is in. Has a second even if the deadline is near.
  Task<std::optional<Error>> note(Stored stored, bool strong, TimePoint deadline);
  // Notes that the store has a record; the error if that can't be done soon.
  Task<std::optional<Error>> see(std::string id, Sighting what);

 private:
  Task<Result<void>> lost_by_store(std::string id);

  Loop& loop_;
  Store& store_;
  HostMemory& memory_;
  Notebook& notebook_;
  // The notebook did not answer in time, and is not waited for again.
  std::optional<Error> unheard_;
  std::optional<Error> unsure_;  // of the last look_up()
};

}  // namespace keyfs
