// Keys that are to be deleted: doomed/<hash>.json, one each, with the time before which it must not
// be, and how often it was tried. A failure holds up its own key only.
//
// Thread-safety: none but summary()'s; on the loop's thread. Ownership: refers to its parts, which
// outlive it. Blocking: never; disk is touched on the worker. Errors: the disk's.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/lazy_worker.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/retry.h"

namespace keyfs {

struct Doomed {
  std::string custody;
  std::string key;
  std::string id;  // that it was made for
  // Not while the id refers to it. False: it was deleted on purpose.
  bool unless_named = true;
  // What is deleted in its place, should the id refer to it after all; empty: nothing.
  std::string instead;
  WallTime not_before{};
  unsigned tries = 0;
  std::string trouble;  // of the last try; not on disk

  Doomed() = default;
  Doomed(std::string c, std::string k, std::string i, std::string other, WallTime t)
      : custody(std::move(c)),
        key(std::move(k)),
        id(std::move(i)),
        instead(std::move(other)),
        not_before(t) {}
};

class DeletionQueue {
 public:
  // `longest`: no entry waits for longer than this from when it is read; somebody may have set the
  // clock.
  DeletionQueue(Loop& loop, Log& log, RandomFraction random, LazyWorker& worker,
                std::string directory, Duration longest)
      : loop_(loop),
        log_(log),
        random_(std::move(random)),
        worker_(worker),
        directory_(std::move(directory)),
        longest_(longest) {}

  // It is on disk once this has returned. On an error it is queued in memory only. What is queued
  // already keeps the earlier time.
  Task<Result<void>> add(Doomed doomed);
  // Reads what others have left on disk, and forgets what they have done.
  Task<Result<void>> look();

  // Deletes a key: done (true: it was deleted; false: there was nothing to delete), or to be tried
  // again later.
  using Delete = std::function<Task<Result<bool>>(Doomed)>;
  // Whatever is due, one after the other. True: nothing that is due is left.
  Task<bool> work(Delete one, TimePoint deadline);

  std::optional<WallTime> next_due() const;
  std::vector<std::string> keys() const;

  struct Summary {
    size_t waiting = 0;
    uint64_t deleted = 0;
    std::string trouble;  // a file that is not readable; or of the one that was tried most often
  };
  Summary summary() const;  // from any thread

 private:
  Task<Result<void>> write(std::string file, Doomed doomed);
  void sum_up();

  Loop& loop_;
  Log& log_;
  const RandomFraction random_;
  LazyWorker& worker_;
  const std::string directory_;
  const Duration longest_;
  std::map<std::string, Doomed> entries_;  // by file name
  std::set<std::string> unwritten_;        // in memory only
  std::set<std::string> at_work_;
  std::set<std::string> damaged_;  // files that say nothing
  uint64_t deleted_ = 0;
  mutable std::mutex mutex_;  // guards the next one
  Summary summary_;
};

}  // namespace keyfs
