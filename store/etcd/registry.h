// Makes sure that keyfs talks to the cluster that this host knows, before anything is created in
// it; sets up the store in a cluster that is new to keyfs; and keeps what is known about the
// cluster on disk (store/etcd/identity.h).
//
// Thread-safety: none; on the loop's thread. Ownership: refers to what EtcdStore owns or was given,
// all of which outlives it. Blocking: never; the file is written on the worker.
// Errors: kInvalid for another cluster, or one that has lost data; kCorrupt for an invalid
// store-id; otherwise those of the cluster and the file system.
#pragma once

#include <string>

#include "base/crypto.h"
#include "base/race.h"
#include "base/worker.h"
#include "store/etcd/client.h"
#include "store/etcd/identity.h"
#include "store/etcd/options.h"

namespace keyfs {

class EtcdRegistry {
 public:
  EtcdRegistry(EtcdClient& client, EtcdIdentity& identity, Worker& files, Random& random,
               const EtcdOptions& options);

  // PREFIX/store-id, which every write compares.
  const std::string& key() const { return key_; }

  // Ensures that this is the cluster that this host knows (from now on, if it knew none), and that
  // this is recorded on disk.
  Task<Result<void>> identify(TimePoint deadline);
  // The store's id, to compare with what records are bound to: the one that this host knows,
  // otherwise from any member. Creates and remembers nothing.
  Task<Result<std::string>> store_id(TimePoint deadline);
  // Whether a miss may be believed and keys may be created; if not, that is remembered.
  Task<Result<void>> may_create(TimePoint deadline);
  // Writes what is new to the file; the revision alone at most once a second, unless
  // `even_if_recent`. A failure to write only the revision is none.
  Task<Result<void>> remember(bool even_if_recent);
  // Before a write of ours is told: that the cluster had come to its revision. A disk that is slow
  // holds the write up for a moment only.
  Task<void> remember_own(int64_t revision, TimePoint deadline);

 private:
  Task<Result<bool>> ask_store_id(TimePoint deadline);
  Task<Result<bool>> save();
  Task<Result<EtcdReply>> found_store(EtcdHeader header, TimePoint deadline);

  EtcdClient& client_;
  EtcdIdentity& identity_;
  Worker& files_;
  Random& random_;
  const EtcdOptions& options_;
  const std::string key_;
  SingleFlight<Result<bool>> identifying_;
  SingleFlight<Result<bool>> saving_;
  TimePoint saved_at_{};
};

}  // namespace keyfs
