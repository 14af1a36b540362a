// Rotation as a daemon takes part in it: the feed, the host's agent, and where this host may run
// rotations the lock and the runner.
//
// Thread-safety: none; all on the loop's thread. Ownership: owns these, refers to their parts, which
// outlive it. Blocking: never. Errors: none; what fails is tried again, and logged.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/crypto.h"
#include "base/log.h"
#include "base/loop.h"
#include "fs/rotation/agent.h"
#include "fs/rotation/feed.h"
#include "fs/rotation/lock.h"
#include "fs/rotation/runner.h"
#include "store/board.h"

namespace keyfs {

struct RotationOptions {
  std::string host;      // is_host_name(); the agent takes another where another daemon has it
  bool run = true;       // this host may run rotations
  FeedOptions feed;      // its shard is set by host and runner.pulse_shards
  AgentOptions agent;    // its host, life and poll_every are set by the others
  LockOptions lock;      // the same
  RunnerOptions runner;  // the same
};

// What the daemon brings.
struct RotationParts {
  HostConsumers& consumers;
  HostKeys& keys;
  Refresher& refresher;
  KeyChanger& changer;
  RunNotices* notices = nullptr;       // may be null
  RecordsListener* records = nullptr;  // may be null
  // What else the holder of the lock does, such as the passes over the whole store; may be null.
  // Dropped when the lock is lost; need not end.
  RunLock::Work also = nullptr;
};

class Rotation final : private FeedFollower {
 public:
  // Errors: those of random.
  static Result<std::unique_ptr<Rotation>> make(Loop& loop, Board& board, Log& log, Random& random,
                                                RotationParts parts, RotationOptions options);

  // Never ends; spawn it.
  Task<void> run();

  const RotationOptions& options() const { return options_; }
  // By which this host is known now.
  const std::string& host() const { return agent_.host(); }
  HostAgent& agent() { return agent_; }
  const HostAgent& agent() const { return agent_; }
  BoardFeed& feed() { return feed_; }
  const BoardFeed& feed() const { return feed_; }
  // Null: this host does not run rotations.
  const RunLock* lock() const { return lock_ ? &*lock_ : nullptr; }
  const Runner* runner() const { return runner_ ? &*runner_ : nullptr; }

 private:
  Rotation(Loop& loop, Board& board, Log& log, Random& random, RotationParts parts,
           RotationOptions options);
  AgentOptions agent_options();
  void on_pulse(const Pulse& pulse) override;
  void on_board(const std::string& name) override;
  Task<bool> feed_on();
  Task<bool> serve();
  Task<bool> compete();
  Task<bool> hold();

  Loop& loop_;
  const RotationOptions options_;
  const RunLock::Work also_;
  BoardFeed feed_;
  HostAgent agent_;
  std::optional<RunLock> lock_;
  std::optional<Runner> runner_;
  std::optional<uint64_t> tickets_;
};

}  // namespace keyfs
