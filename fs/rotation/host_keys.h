// Whether this host serves a new version, proven by the cache that its file system reads from.
//
// A key that is not cached here, or not in that version, is fetched as an open would, by a strong
// read and an unwrap, so that the cache has it from then on: nobody who opens it later can get what
// an answer that is old still says. Nothing is created.
//
// What a run asks for may have been replaced since, by a later version or, by an operator's word, by
// an older one. It has been only if the store says now which version is current, knows the one that
// is asked for, and the cache serves that current one.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: the store's and the keyring's; kRevoked for a key that is disabled or
// deleted: nobody can open it, so nobody is to be told of it.
#pragma once

#include <cstdint>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/keys/key_cache.h"
#include "fs/keys/keyring.h"
#include "fs/rotation/agent.h"
#include "store/store.h"

namespace keyfs {

class CachedHostKeys final : public HostKeys {
 public:
  CachedHostKeys(Loop& loop, Store& store, KeyCache& cache, Keyring& keyring)
      : loop_(loop), store_(store), cache_(cache), keyring_(keyring) {}

  Task<Result<bool>> serves(KeyVersion key, TimePoint deadline) override;

 private:
  // The version that whoever opens it gets at once; 0: none.
  uint32_t served(const KeyRef& entry);
  Task<Result<bool>> was_replaced(KeyVersion key, KeyRef entry, TimePoint deadline);

  Loop& loop_;
  Store& store_;
  KeyCache& cache_;
  Keyring& keyring_;
};

}  // namespace keyfs
