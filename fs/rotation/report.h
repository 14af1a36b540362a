// What became of a run: which keys got a new version, which consumers were told and how that ended,
// who was not heard from. The same for a run that is still under way.
//
// A report holds no key, plain or wrapped, and nothing that a hook has written: that may be secret,
// and the board is read by all hosts.
//
// Everything in it but times and numbers comes from the board, which other hosts write: it is made
// safe for a terminal where it is shown.
//
// Thread-safety: plain values and plain functions. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace keyfs {

enum class RunState {
  kWaiting,    // it was asked for, or a retry of it was, and nobody has taken it up yet
  kRotating,   // new versions are made
  kEnrolling,  // hosts say which consumers they have
  kTelling,    // consumers are told
  kStopping,   // by stop_after, or by hand: those under way are waited for; `stopped` says why
  kEnded,
  kStopped,  // the same, and over
};

enum class ConsumerState {
  kWaiting,
  kRunning,
  kOk,        // told, and confirmed as it was to be
  kFailed,    // `reason` says why: exit status, time-out, not confirmed, interrupted
  kNotTried,  // the run was stopped before its turn
  kUnknown,   // its host took it on and was not heard from since
  kGone,      // its process had ended: whoever starts it again opens the new version
  kMarked,    // done by hand (keyfs rotation done)
};

enum class NotifyState {
  kNone,     // no webhook is configured
  kWaiting,  // the run has not ended
  kSending,  // a runner that dies now leaves it so: whether the message arrived is unknown
  kSent,
  kFailed,
};

struct RotatedKey {
  enum class State {
    kWaiting,
    kCurrent,  // the new version is: consumers are told of it
    kOverdue,  // it could not be made or tested now, and is tried again; the old one is current
    kRefused,  // it can't be made, and is not tried again
  };
  std::string id;
  State state = State::kWaiting;
  uint32_t version = 0;  // that is current now; 0: unknown
  uint32_t before = 0;   // that was current; 0: unknown
  // Regions in which the new version should be wrapped and is not.
  std::vector<std::string> missing;
  std::string reason;  // of kOverdue, kRefused, and of the first that is missing
};

struct ConsumerReport {
  std::string consumer;  // as in [consumer NAME]
  std::string host;
  ConsumerState state = ConsumerState::kWaiting;
  std::string reason;             // of kFailed, kUnknown; who has marked it, of kMarked
  std::vector<std::string> keys;  // "id/version"
  std::optional<WallTime> begun;  // when its hook began
  std::optional<WallTime> ended;  // confirmed, failed, marked
};

struct ReportCounts {
  size_t consumers = 0;  // all of them
  size_t waiting = 0;
  size_t running = 0;
  size_t ok = 0;
  size_t failed = 0;
  size_t not_tried = 0;
  size_t unknown = 0;
  size_t gone = 0;
  size_t marked = 0;
  size_t not_heard_from = 0;  // hosts
  size_t keys_not_current = 0;
  size_t keys_with_gaps = 0;  // current, and not wrapped in every region

  // Consumers that nothing is to be done for any more, in this run.
  size_t settled() const { return consumers - waiting - running; }
  // Nobody is left who may still use an old version without having been told.
  bool all_told() const {
    return ok + gone + marked == consumers && not_heard_from == 0 && keys_not_current == 0;
  }
};

// What a list of runs shows.
struct RunSummary {
  std::string run;
  RunState state = RunState::kWaiting;
  std::vector<std::string> keys;  // ids
  std::optional<WallTime> begun;
  std::optional<WallTime> ended;
  ReportCounts counts;

  bool has_ended() const { return state == RunState::kEnded || state == RunState::kStopped; }
  // It has ended, every consumer is told, every key is whole.
  bool complete() const {
    return state == RunState::kEnded && counts.all_told() && counts.keys_with_gaps == 0;
  }
  // "waiting", "rotating", "enrolling", "telling", "stopping", "complete", "in part", "stopped".
  std::string_view word() const;
};

struct RunReport {
  std::string run;
  uint64_t epoch = 0;
  std::string holder;  // the host that runs it, or did at the end
  RunState state = RunState::kWaiting;
  std::string stopped;  // why, of kStopped
  std::optional<WallTime> begun;
  std::optional<WallTime> ended;
  std::vector<RotatedKey> keys;
  std::vector<ConsumerReport> consumers;
  std::vector<std::string> not_heard_from;  // hosts
  size_t not_heard_from_more = 0;           // and so many others
  std::vector<std::string> takeovers;       // "web-1 -> web-2", the last ones
  NotifyState notify = NotifyState::kNone;
  std::string notify_reason;  // of kFailed; no URL

  ReportCounts counts() const;
  RunSummary summary() const;
};

// The words of JSON and text: "not tried", "done" for kMarked.
std::string_view to_string(RotatedKey::State state);
std::string_view to_string(ConsumerState state);
std::string_view to_string(NotifyState state);

struct ReportParts {
  bool every_consumer = true;  // false: only those that the reader has to look at
};

// {"run", "epoch", "state", "complete", "holder", "begun", "ended", "counts", "keys", "consumers",
// "not_heard_from", "takeovers", "stopped", "notify", "notify_reason"}; null for what is not known.
nlohmann::ordered_json to_json(const RunReport& report);
nlohmann::ordered_json to_json(const ReportCounts& counts);
// One element of a list of runs: {"run", "state", "begun", "ended", "counts", "keys"}.
nlohmann::ordered_json to_json(const RunSummary& summary);

// Several lines for people.
std::string to_text(const RunReport& report, const ReportParts& parts = {});
// "64 ok, 1 failed of 65 consumers", without what there is none of.
std::string to_text(const ReportCounts& counts);

// For text from others: control characters become "?", and what is longer than `most` bytes is cut.
std::string safe_text(std::string_view text, size_t most);

}  // namespace keyfs
