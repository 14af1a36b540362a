// Announces changes of the board: one stream (POST /v3/watch) over its keys, from one member at a
// time.
//
// It begins where a linearizable read of the member stood, and after a break at the revision that
// comes next, so that nothing is missed; where that was compacted, or the cluster has gone back in
// time, the listener gets a gap. etcd ends the stream of a member that lost its leader; one that
// died, or begins no stream, is noticed by a read every few seconds.
//
// Thread-safety: none; on the loop's thread. Ownership: all that it is given outlives it, it
// outlives its task. Blocking: never. Errors: none; it keeps trying until dropped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "store/board.h"
#include "store/etcd/client.h"
#include "store/etcd/identity.h"
#include "store/etcd/incoming.h"

namespace keyfs {

class EtcdBoardWatch {
 public:
  EtcdBoardWatch(EtcdClient& client, EtcdIdentity& identity, std::string documents,
                 BoardListener& listener);

  // Never ends; drop it to stop.
  Task<void> run();

 private:
  enum class What { kStreamEnded, kData, kProbed };
  struct Event {
    What what;
    bool good = true;
  };

  // Returns when the stream is over; true: it had begun.
  Task<bool> follow(size_t endpoint);
  // The revision of the cluster as this member knows it for certain.
  Task<std::optional<int64_t>> probe(size_t endpoint);
  Task<Event> probe_later(size_t endpoint);
  Task<Event> stream(size_t endpoint, EtcdIncoming& incoming);
  Task<Event> wait_for_data(EtcdIncoming& incoming);
  // False: the stream is no longer usable.
  bool take_lines(EtcdIncoming& incoming);
  void gap(int64_t next);

  EtcdClient& client_;
  EtcdIdentity& identity_;
  const std::string documents_;
  BoardListener& listener_;
  int64_t next_ = 0;  // the first revision that was not announced; 0: none yet
  bool created_ = false;
};

}  // namespace keyfs
