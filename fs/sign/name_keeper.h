// Keeps names from looking abandoned, and disposes of what others have abandoned.
//
// Keep-alive writes each name again as it is, every keep_alive_every. A name that somebody else
// has moved is never moved back: its key is read anew. Disposal looks, every dispose_every, for names
// of siblings that were not written for stale_siblings_after, and for keys without a name that are
// older than nameless_after; not before keep-alive has seen all of this process's own names.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never; disk is touched on the worker. Errors: logged.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/lazy_worker.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/retry.h"
#include "fs/sign/id_turns.h"
#include "fs/sign/signing_keys.h"
#include "kms/signing/custody.h"

namespace keyfs {

class NameKeeper {
 public:
  struct Parts {
    Loop& loop;
    Log& log;
    RandomFraction random;
    LazyWorker& worker;
    IdTurns& turns;  // so that a name is not written back while a new key takes it
    std::vector<Custody*> custodies;
    // The keys of this process's names; nullopt: they have not been read yet.
    std::function<std::optional<std::vector<SigningKeyPtr>>()> names;
    // The name refers to another key by now.
    std::function<Task<void>(std::string id)> moved;
    // References that are being worked at, which are nobody's stray; an error: not known.
    std::function<Task<Result<std::set<std::string>>>()> concerned;
  };
  NameKeeper(Parts parts, const SigningOptions& options)
      : parts_(std::move(parts)), options_(options) {}

  Task<void> run();  // both, without end
  Task<bool> keep_alive();
  Task<void> dispose();

  // The custody says when a name was written last.
  void refreshed(const std::string& id, WallTime at) { refreshed_[id] = at; }
  uint64_t disposed() const { return disposed_; }  // from any thread

 private:
  Task<Result<Pointed>> keep_one(Custody& custody, SigningKeyPtr key);
  Task<void> dispose_in(Custody& custody);
  Task<void> dispose_all(Custody& custody, std::vector<StrayKey> strays, std::string what);
  Duration about(Duration every) const;  // 20 % more or less

  const Parts parts_;
  const SigningOptions& options_;
  std::map<std::string, WallTime> refreshed_;
  bool kept_alive_ = false;
  std::atomic<uint64_t> disposed_ = 0;
};

}  // namespace keyfs
