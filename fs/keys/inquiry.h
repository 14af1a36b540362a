// What one flight asks of the store and of this host's memory, side by side, and what it goes by.
//
// The store's word counts, held against what is remembered:
//   strong and in keeping with it  -> goes
//   strong, and goes back          -> kCorrupt, whenever it comes: also after the memory's copy was
//                                     given out, until answered_late() was asked for the last time.
//                                     Asked again first, when the memory spoke after it was asked
//   may be old                     -> goes when it contradicts nothing and the last strong
//                                     confirmation is within serve_stale_for; else it is asked for
//                                     again, strongly
//   none, for store_patience       -> the memory's copy, for serve_stale_for after its confirmation
// A memory that does not answer within memory_patience holds up no read: what is known in this
// process is compared all the same.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its source; dropping it, or the
// task of a call, ends the questions. Blocking: never; one call at a time.
// Errors: the store's, when the memory can't help; kCorrupt for a damaged record.
#pragma once

#include <optional>
#include <string>

#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "fs/keys/key_cache.h"
#include "fs/keys/record_source.h"

namespace keyfs {

class Inquiry {
 public:
  using Seen = RecordSource::Seen;

  Inquiry(RecordSource& source, std::string id, TimePoint deadline);

  // The record to go by. `strong`: no answer of the store's that may be old.
  Task<Result<Seen>> look(KeyCache::Known known, bool strong);
  // After look() gave the memory's copy: whether the store has said something meanwhile. If so,
  // look() gives that.
  Task<bool> answered_late();
  // What the memory says; kUnknown when it says nothing in time: until the deadline when
  // `patiently`, else as long as a read waits.
  Task<Recall> recall(bool patiently);
  // The store was asked before the memory spoke: what the memory knows and the store does not may
  // have come about in between. The next look() asks the store anew.
  bool hindsight() const { return hindsight_ && recall_; }

 private:
  struct Heard {
    std::optional<Result<Got>> store;
    std::optional<Recall> memory;
  };

  Task<Heard> ask_store(Read read);
  Task<Heard> ask_memory();
  void start_store(Read read);
  // Waits until what is wanted is there; false: the time passed first.
  enum class Want { kStore, kMemory, kEither, kDecision };  // kDecision: decided(), or the memory
  bool has(Want want) const;
  Task<bool> hear(Want want, TimePoint until);
  void take(Heard heard);
  // The store has said what counts, be it that the record is damaged.
  bool decided() const;
  Task<Result<Seen>> weigh(KeyCache::Known known);
  std::optional<std::string> contradiction(const KeyCache::Known& known, const Record& now) const;
  std::optional<Seen> from_memory(const KeyCache::Known& known, std::string& why_not) const;
  TimePoint confirmed_before(const KeyCache::Known& known) const;
  bool overdue(TimePoint confirmed_at) const;
  Error failure(const std::string& why_not);

  RecordSource& source_;
  Loop& loop_;
  const std::string id_;
  const TimePoint deadline_;
  TimePoint asked_at_;
  bool recalling_ = false;
  bool late_ = false;
  bool hindsight_ = true;
  std::optional<size_t> asking_;  // the question to the store that is under way
  std::optional<Result<Got>> answer_;
  std::optional<Recall> recall_;
  TaskGroup<Heard> group_;  // last: its tasks refer to what stands above
};

}  // namespace keyfs
