#include "fs/daemon/last_writes.h"

#include "base/race.h"

namespace keyfs {

void finish_creations(Loop& loop, Keyring& keyring, Log& log) {
  const auto done =
      loop.run_task(before(loop, loop.now() + kLastWrites, "saving new keys", keyring.settled()));
  if (!done) {
    log.warn("it is not known whether the newest keys were saved",
             {{"reason", done.error().message}});
  }
}

void flush_replica(Loop& loop, Replica& replica, Log& log) {
  const auto flushed = [](Replica& copy) -> Task<Result<bool>> {
    co_await copy.flush();
    co_return true;
  };
  const auto done = loop.run_task(
      before(loop, loop.now() + kLastWrites, "writing the replica", flushed(replica)));
  if (!done) {
    log.warn("this host's replica may lack the newest records", {{"reason", done.error().message}});
  }
}

}  // namespace keyfs
