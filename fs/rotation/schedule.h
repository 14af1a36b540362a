// Schedules: keys that are rotated by themselves, each `rotate_every`.
//
// A key is due between nine tenths of its period and the whole of it after its current version
// became current, at a moment that its id and that version determine: the same for whoever computes
// it, and spread over the last tenth, so that keys made together are not rotated together. What is
// due gets a ticket, whose token is determined by id and version as well: hosts that take over, or
// whose clocks differ, never ask twice for the same version.
//
// It is an operation of a pass over records (fs/upkeep/pass.h) that reads only those whose current
// version it does not know yet, and changes none; ScheduleWork makes these passes, on the host that
// holds the lock.
//
// Thread-safety: none; all on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: the board's.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/rotation/lock.h"
#include "fs/upkeep/pass.h"
#include "store/board.h"
#include "store/store.h"

namespace keyfs {

// `since`: when the version became current.
WallTime due_at(std::string_view id, uint32_t version, WallTime since, Duration period);
// Of the ticket for what follows this version.
Result<std::string> schedule_token(std::string_view id, uint32_t version);

struct ScheduleOptions {
  // The period of a key; zero: it is not rotated by itself.
  std::function<Duration(const std::string& id)> period;
  Duration shortest{};  // of all periods that the configuration names
  Duration ahead{};     // tickets are put so much earlier: they settle first. A tenth of the period
                        // at most
  std::string by;       // this host, for people
  unsigned pulse_shards = 1;
  Duration call = std::chrono::seconds(10);
  Duration scan_least = std::chrono::seconds(1);  // between two passes
  Duration scan_most = std::chrono::hours(6);
};

class Schedule final : public RecordOperation {
 public:
  Schedule(Loop& loop, Board& board, Random& random, ScheduleOptions options);

  bool wants(const ListPage::Entry& entry) override;
  void begin() override {}
  bool takes(const Record& record) override;
  Task<void> apply(Record& record, TimePoint deadline) override;
  void finished(const std::string& id, const PassEnd& end) override;

  // Puts the tickets that are due, at most `most`: how many. `may_write`: asked right before each
  // write; may be null.
  Task<Result<size_t>> put_due(size_t most, std::function<Result<void>()> may_write = nullptr);
  // When the next one is due; nullopt: none that is known.
  std::optional<WallTime> next() const;
  size_t size() const { return keys_.size(); }
  const ScheduleOptions& options() const { return options_; }

 private:
  struct Due {
    uint32_t version = 0;
    WallTime at{};
    bool asked = false;
  };

  Loop& loop_;
  Board& board_;
  Random& random_;
  const ScheduleOptions options_;
  std::map<std::string, Due> keys_;
};

// The passes; for the holder of the lock, beside the runner.
class ScheduleWork {
 public:
  ScheduleWork(Loop& loop, Store& store, Log& log, const Tenure& tenure, Schedule& schedule);

  // Never ends by itself.
  Task<bool> work();

 private:
  Loop& loop_;
  Store& store_;
  Log& log_;
  const Tenure& tenure_;
  Schedule& schedule_;
};

}  // namespace keyfs
