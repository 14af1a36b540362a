// How a host hears of what happens: of changed records, of tickets, of the run that is going on.
//
// It looks at the pulse each `poll_every` (give or take 20 %, so that hosts spread), by one cheap
// read, and where the board can announce changes it looks when it is told to. Records that changed
// are told once each; if more changed than the pulse remembers, or it is another pulse than before,
// a gap. A pulse that is older than the last one comes from a copy that lags, which is not looked at,
// or from a board that was restored: a strong read tells. While the pulse cannot be read nothing is told, and nothing is taken as proven: records are
// checked in their own time.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts and to those it tells,
// which outlive it. Blocking: never. Errors: none; a board that is silent is logged.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/retry.h"
#include "base/wake.h"
#include "store/board.h"
#include "store/pulse.h"

namespace keyfs {

// Is told of changed records.
class RecordsListener {
 public:
  virtual ~RecordsListener() = default;
  virtual void on_records(const std::vector<std::string>& ids) = 0;
  // Any may have changed.
  virtual void on_records_gap() = 0;
};

// Is told what the board says about rotation.
class FeedFollower {
 public:
  virtual ~FeedFollower() = default;
  // After each look, changed or not.
  virtual void on_pulse(const Pulse& pulse) = 0;
  // Where the board announces changes: this document, or (empty) any.
  virtual void on_board(const std::string& name) = 0;
  // Before on_pulse(): the board is another one than before, made anew or restored from a backup.
  // All that was on it is gone, or is as it once was.
  virtual void on_new_board() {}
};

struct FeedOptions {
  Duration poll_every = std::chrono::seconds(30);
  unsigned shard = 0;  // which copy of the pulse this host reads
  Duration call = std::chrono::seconds(10);
};

class BoardFeed final : private BoardListener {
 public:
  // `records`: may be null.
  BoardFeed(Loop& loop, Board& board, Log& log, RandomFraction random, RecordsListener* records,
            FeedOptions options);

  void add(FeedFollower& follower) { followers_.push_back(&follower); }
  // Never ends; spawn it.
  Task<void> run();
  // Looks at once.
  void look() { wake_.set(); }

  // The last one that was seen.
  const std::optional<Pulse>& pulse() const { return pulse_; }

 private:
  void on_change(const std::string& name) override;
  void on_gap() override;
  Task<bool> poll();
  Task<bool> watch();
  Task<Result<void>> look_once();
  bool is_older(const Pulse& pulse) const;

  Loop& loop_;
  Board& board_;
  Log& log_;
  const RandomFraction random_;
  RecordsListener* const records_;
  const FeedOptions options_;
  std::vector<FeedFollower*> followers_;
  Wake wake_;
  std::optional<Pulse> pulse_;
  bool silent_ = false;
};

}  // namespace keyfs
