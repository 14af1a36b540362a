// One flight's concurrent questions to the store and to this host's memory, and how it decides.
//
// The store's answer decides, after comparison with what is remembered:
//   strong and consistent with it  -> used
//   strong, and goes back          -> kCorrupt, whenever it comes: even after the memory's copy was
//                                     used, until the last call of answered_late(). Asked again
//                                     first, if the memory answered after the store was asked
//   may be stale                   -> used if it contradicts nothing and the last strong
//                                     confirmation is within serve_stale_for; otherwise asked
//                                     again, strongly
//   none, for store_patience       -> the memory's copy, for serve_stale_for after its confirmation
// A memory that does not answer within memory_patience does not hold up reads: what this process
// knows is still compared.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its source; dropping it, or the
// task of a call, cancels the questions. Blocking: never; one call at a time.
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

  // The record to use. `strong`: no answer from the store that may be stale. Errors: the store's,
  // if the memory can't help; kCorrupt for a damaged record, or one that goes back.
  Task<Result<Seen>> look(KeyCache::Known known, bool strong);
  // After look() gave the memory's copy: whether the store has answered since. If so, the next
  // look() gives that.
  Task<bool> answered_late();
  // The memory's answer; kUnknown if there is none in time: until the deadline if `patiently`,
  // otherwise as long as a read waits.
  Task<Recall> recall(bool patiently);
  // The store was asked before the memory answered: what the memory knows and the store does not
  // may have happened in between. The next look() asks the store again.
  bool hindsight() const { return hindsight_ && recall_; }

 private:
  struct Heard {
    std::optional<Result<Got>> store;
    std::optional<Recall> memory;
  };

  Task<Heard> ask_store(Read read);
  Task<Heard> ask_memory();
  void start_store(Read read);
  // Waits for what is wanted; false: the time passed first.
  enum class Want { kStore, kMemory, kEither, kDecision };  // kDecision: decided(), or the memory
  bool has(Want want) const;
  Task<bool> hear(Want want, TimePoint until);
  void take(Heard heard);
  // The store has given a decisive answer, even if it is that the record is damaged.
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
  std::optional<size_t> asking_;  // the pending question to the store
  std::optional<Result<Got>> answer_;
  std::optional<Recall> recall_;
  TaskGroup<Heard> group_;  // last: its tasks refer to the members above
};

}  // namespace keyfs
