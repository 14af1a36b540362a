// This host's replica of records, opened for a daemon: with the mark that shows other keyfs which
// file it is.
//
// Thread-safety: none; a plain function. Ownership: the caller's. Blocking: on the disk. Errors: as
// Replica::open(); kUnavailable also if a keyfs runs here that had another file under that name.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/crypto.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/siphash.h"
#include "fs/keys/replica.h"
#include "fs/keys/replica_mark.h"

namespace keyfs {

struct MarkedReplica {
  std::unique_ptr<Replica> replica;
  std::optional<ReplicaMark> mark;  // nullopt: it can't be marked, which is logged
};

Result<MarkedReplica> open_marked_replica(Loop& loop, Log& log, Random& random,
                                          const std::string& path, const SipHash& hash);

}  // namespace keyfs
