// What this host knows about rotation now: .keyfs/rotation, the part of .keyfs/status, metrics.
//
// Nothing is asked of the board for it. The holder of the lock knows the run that goes on, its
// consumers on all hosts, and what is overdue; another host knows what the pulse tells (the run, how
// many tickets are overdue) and what its own part in the run is. What a host does not know is null.
//
// .keyfs/rotation, one object; T is a time, N a number, S a string:
//   {"host":S, "name_taken":S, "troubles":[S, ...],
//    "may_run":B, "is_holder":B, "holder":S, "epoch":N,
//    "board":{"state":"unknown|there|silent|not there", "since":T, "reason":S, "errors":N,
//             "damaged":[{"name":S, "since":T}, ...]},     documents; rotation waits for their repair
//    "run":{"run":S, "state":S, "begun":T, "counts":{"consumers":N, "waiting":N, "running":N, "ok":N,
//           "failed":N, "unknown":N, "not_tried":N, "gone":N, "done":N}, "not_heard_from":N,
//           "keys":[{"id":S, "state":S, "version":N, "before":N, "reason":S}, ...],
//           "here":{"consumers":N, "running":N}},            null: none goes on, as far as is known
//    "tickets_waiting":N,                                    the holder's
//    "overdue":N,                                            tickets
//    "overdue_tickets":[{"id":S, "since":T, "reason":S}, ...],   the holder's
//    "hooks":{"begun":N, "ok":N, "gone":N, "failed":N},      on this host
//    "runs_ended":{"complete":N, "in part":N, "stopped":N},  by this host
//    "consumers":[{"unit":S, "cgroup":S, "executable":S, "uid":N, "sections":[S, ...],
//                  "keys":["orders/3", ...], "keys_more":N, "processes":N, "seen":T}, ...],
//    "consumers_known":N, "consumers_not_saved":S, "openings_missed":N}
//
// Thread-safety: plain values; rotation_status() on the loop's thread. Ownership: none. Blocking:
// never. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fs/rotation/consumers.h"
#include "fs/rotation/rotation.h"
#include "fs/rotation/watched_board.h"

namespace keyfs {

struct RotationStatus {
  std::string host;
  std::string name_taken;  // its plain name, which another daemon has; empty: none has it
  // That another daemon has a copy of its state_dir, or that it does not know all programs that use
  // its keys: what an operator must look after.
  std::vector<std::string> troubles;
  bool may_run = false;    // this host may hold the lock
  bool is_holder = false;  // it does, and may act
  std::string holder;      // as last seen; empty: not known
  uint64_t epoch = 0;
  BoardHealth board;

  struct Run {
    std::string run;
    std::vector<RunKey> keys;
    // The holder's alone.
    std::optional<RunDocument::State> state;
    std::optional<RunCounts> counts;
    std::string begun;
    size_t not_heard_from = 0;
    size_t consumers_here = 0;
    size_t running_here = 0;
  };
  std::optional<Run> run;

  std::optional<size_t> waiting;                       // tickets
  std::optional<size_t> overdue;                       // tickets; nullopt: not known
  std::optional<std::vector<Ticket>> overdue_tickets;  // the holder's

  uint64_t hooks = 0;
  std::map<RefreshOutcome::What, uint64_t> outcomes;
  std::map<RunDocument::End, uint64_t> ended;

  Consumers::Status consumers;
};

// `rotation`, `board`: null where there is none. It is cheap; the list of consumers is not in it.
RotationStatus rotation_status(const Rotation* rotation, const WatchedBoard* board,
                               const Consumers& consumers);

// The file's contents. At most kMaxShownConsumers of `consumers`, those that were seen last, and of
// each at most kMaxShownKeys.
inline constexpr size_t kMaxShownConsumers = 1000;
inline constexpr size_t kMaxShownKeys = 100;
nlohmann::ordered_json to_json(const RotationStatus& status, std::vector<SeenConsumer> consumers);

}  // namespace keyfs
