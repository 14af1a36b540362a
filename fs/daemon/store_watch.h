// Tells the operator of a store that has gone back in time (Store::trouble()): in the log once, and
// once when it is over; in a metric; and for .keyfs/status.
//
// Thread-safety: run() on the loop's thread; trouble() from any. Ownership: refers to its parts,
// which outlive it and its task. Blocking: never. Errors: none.
#pragma once

#include <mutex>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/task.h"
#include "store/store.h"

namespace keyfs {

class StoreWatch {
 public:
  StoreWatch(Loop& loop, const Store& store, Log& log, Metrics& metrics);

  // Until dropped.
  Task<void> run();
  // Empty: none.
  std::string trouble() const;

 private:
  void look();

  Loop& loop_;
  const Store& store_;
  Log& log_;
  Gauge& refused_;
  mutable std::mutex mutex_;
  std::string trouble_;  // written on the loop's thread only
};

}  // namespace keyfs
