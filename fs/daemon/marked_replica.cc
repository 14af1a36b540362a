#include "fs/daemon/marked_replica.h"

#include <utility>

namespace keyfs {

Result<MarkedReplica> open_marked_replica(Loop& loop, Log& log, Random& random,
                                          const std::string& path, const SipHash& hash) {
  // Another keyfs on this state_dir, whose file was taken away.
  if (auto ok = check_replica_is_the_one(path); !ok) return fail(ok.error());
  auto replica = Replica::open(loop, log, path, hash);
  if (!replica) return fail(replica.error());
  MarkedReplica opened;
  opened.replica = std::move(*replica);
  auto mark = ReplicaMark::make(path, random);
  if (mark) {
    opened.mark = std::move(*mark);
  } else {
    log.warn(
        "the replica of records can't be marked as in use: if it is removed or replaced while "
        "keyfs runs, other keyfs commands do not notice",
        {{"reason", mark.error().message}});
  }
  return opened;
}

}  // namespace keyfs
