// Lines that a stream from etcd has delivered and nobody has processed.
//
// Thread-safety: none; on the loop's thread. Ownership: the loop outlives it. Blocking: never.
// Errors: none.
#pragma once

#include <optional>

#include "base/loop.h"
#include "store/etcd/lines.h"
#include "store/etcd/messages.h"

namespace keyfs {

struct EtcdIncoming {
  explicit EtcdIncoming(Loop& on) : loop(on) {}
  void wake() {
    fresh = true;
    if (ready) ready->set(true);
  }
  // Until there is something new.
  Task<void> wait() {
    if (!fresh) {
      ready.emplace(loop);
      co_await *ready;
    }
    fresh = false;
  }

  Loop& loop;
  EtcdLines lines{kMaxEtcdWatchLine};
  bool fresh = false;
  std::optional<OneShot<bool>> ready;
};

}  // namespace keyfs
