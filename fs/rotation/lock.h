// The lock of rotation: which host acts for all of them.
//
// It is the document run/head. The holder writes it anew each 5 s, and stops acting 20 s after it
// last sent a renewal that took effect. Whoever has seen it unchanged for 30 s of its own
// CLOCK_BOOTTIME, and finds it so by a strong read, writes itself in with the next epoch, by
// compare-and-swap. No wall clock is compared, and nothing expires by itself. As the holder counts
// from before its write and others from after they saw it, both never act at once while clocks run
// at nearly the same speed; what a holder had under way when it was stopped is fenced by its epoch.
//
// While nothing is to be done a candidate looks each `idle_every` only, so that idle hosts cost next
// to nothing; an alert candidate (on_alert()) each 3 s.
//
// A document that is damaged is nobody's: it might be a live holder's, so that no host takes it over
// and none acts, until somebody removes it. The next epoch is then that of run/now and of the runs,
// and one: those of before are fenced still.
//
// Thread-safety: none; all on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: none; a board that is silent is logged, and asked again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/retry.h"
#include "base/task.h"
#include "base/wake.h"
#include "fs/rotation/documents.h"
#include "store/board.h"

namespace keyfs {

struct LockOptions {
  std::string host;
  std::string life;  // random, of this life of the daemon
  Duration beat_every = std::chrono::seconds(5);
  Duration act_for = std::chrono::seconds(20);  // after the last success
  Duration take_over_after = std::chrono::seconds(30);
  Duration alert_every = std::chrono::seconds(3);
  Duration idle_every = std::chrono::minutes(5);
  Duration call = std::chrono::seconds(4);
};

// What the holder works with.
class Tenure {
 public:
  virtual ~Tenure() = default;
  virtual uint64_t epoch() const = 0;
  // Whether the holder may act now: asked before each write.
  virtual bool may_act() const = 0;
};

class RunLock final : public Tenure {
 public:
  // What the holder does: begun each time that the lock is got (or got back), dropped when it is
  // lost. It need not end.
  using Work = std::function<Task<bool>()>;

  RunLock(Loop& loop, Board& board, Log& log, RandomFraction random, LockOptions options);

  // Never ends; spawn it.
  Task<void> run(Work work);
  // Something is to be done or is being done: watch over the holder closely for so long.
  void on_alert(Duration how_long);
  // The name by which this host is known from now on.
  void set_host(std::string host) { options_.host = std::move(host); }

  uint64_t epoch() const override { return head_.epoch; }
  bool may_act() const override { return held_ && loop_.now() < sent_ + options_.act_for; }
  // The holder as last seen, for people; empty: not known. While it is this host, by the name that
  // it has now, which the board has with the next renewal.
  const std::string& holder() const { return may_act() ? options_.host : head_.holder; }

 private:
  Task<void> become_holder();
  Task<Result<bool>> look();
  Task<Result<uint64_t>> first_epoch();
  Task<Result<bool>> take(const std::optional<BoardDocument>& there, uint64_t epoch);
  // Renews the lock until that fails: why.
  Task<bool> hold();
  Task<Result<bool>> beat();
  Result<Head> see(const BoardDocument& there);
  // By whatever name it was got.
  bool is_mine(const Head& head) const { return head.life == options_.life; }

  Loop& loop_;
  Board& board_;
  Log& log_;
  const RandomFraction random_;
  LockOptions options_;

  Wake wake_;
  Head head_;  // as last seen
  std::string revision_;
  TimePoint seen_{};  // since when it has been so
  bool held_ = false;
  TimePoint sent_{};  // when the last renewal that took effect was sent
  TimePoint alert_until_{};
  bool silent_ = false;
  bool damaged_ = false;
};

}  // namespace keyfs
