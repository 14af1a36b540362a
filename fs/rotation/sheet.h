// The sheet: what a host and the runner tell each other about the host's consumers in a run.
//
//   rows/RUN/HOST/PAGE   {"run", "host", "page", "rows": [row...]}, and which daemon put it:
//                        "instance", "life", "turn" (fs/rotation/host_identity.h)
//   row  {"consumer": "nginx", "keys": [0, 3],         places in the run's list of keys
//         "timeout": 30,                               seconds that a hook may take
//         "state": "waiting", "attempt": 1,
//         "epoch": 7,                                  of the order
//         "life": "5f0c...",                           the daemon's that has claimed it
//         "begun", "ended",                            wall time by the host's clock, for people
//         "section": "91ac...",                        whom it tells, as it was enrolled
//         "section_now": "5e20...",                    and when it failed since that had changed
//         "why": "..."}                                what is not said is left out
//
// A host enrols by putting its sheets, the first page last: once there is page 0 all are there.
// From then on the runner and the host change rows, each row only as below, by compare-and-swap of
// the document.
//
//   waiting    -> ordered              runner
//   ordered    -> waiting              runner of a higher epoch
//   ordered    -> not tried            runner (takes it back); certainly no hook was run
//   ordered    -> started, failed      host: the hook runs from now on; it could not be run
//   started    -> ok, gone, failed     host
//   started    -> unknown              runner: nothing was heard for too long
//   unknown    -> ok, gone, failed     host, after all
//   waiting    -> not tried            runner
//   failed, unknown, not tried -> waiting of the next attempt: runner (retry)
//   failed, unknown, not tried -> done     by hand
//
// The consumer kUnknownPrograms stands for programs that the host knows nothing of, since it has
// lost its list of them, or has shared it: there is nobody to tell, so it is put as failed, and
// fails again, until it is marked as done.
//
// Thread-safety: plain values. Blocking: never. Errors: kCorrupt for what is no sheet.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

inline constexpr size_t kMaxRows = 50;  // of a sheet, so that it fits into a document
inline constexpr size_t kMaxConsumerName = 200;
inline constexpr size_t kMaxWhy = 200;
inline constexpr const char* kUnknownPrograms = "(unknown)";  // no section can have this name

inline constexpr const char* kRowsPrefix = "rows/";

enum class RowState {
  kWaiting,
  kOrdered,
  kStarted,
  kOk,
  kGone,
  kFailed,
  kUnknown,
  kNotTried,
  kDone,
};

std::string_view to_string(RowState state);  // "waiting", "not tried"...

struct Row {
  std::string consumer;
  std::vector<uint32_t> keys;
  Duration timeout = std::chrono::seconds(30);
  RowState state = RowState::kWaiting;
  uint32_t attempt = 1;
  uint64_t epoch = 0;
  std::string life;
  std::string begun;
  std::string ended;
  std::string why;
  std::string section{};
  std::string section_now{};
  bool operator==(const Row&) const = default;

  bool active() const { return state == RowState::kOrdered || state == RowState::kStarted; }
  // Nothing more will be done about it in this attempt.
  bool over() const { return !active() && state != RowState::kWaiting; }
  // Whether it tells the same as those that were enrolled, or as an operator was told since. What
  // is not known is taken to be.
  bool tells_those_of(const std::string& now) const {
    return section.empty() || now.empty() || now == section || now == section_now;
  }
  // What `retry` does again.
  bool to_do_again() const {
    return state == RowState::kFailed || state == RowState::kUnknown ||
           state == RowState::kNotTried;
  }
};

struct Sheet {
  std::string run;
  std::string host;
  uint32_t page = 0;
  std::vector<Row> rows;
  std::string instance{};
  std::string life{};
  uint64_t turn = 0;
  bool operator==(const Sheet&) const = default;

  Row* find(std::string_view consumer);
  const Row* find(std::string_view consumer) const {
    return const_cast<Sheet*>(this)->find(consumer);
  }
};

std::string sheets_of(const std::string& run);                           // the prefix of a list
std::string sheets_of(const std::string& run, const std::string& host);  // the same
std::string sheet_name(const std::string& run, const std::string& host, uint32_t page);

// How often a host looks at its sheet while a run of so many hosts is going on: all of them together
// read 200 times a second.
Duration sheet_poll(uint64_t hosts);

Result<Sheet> parse_sheet(std::string_view text);
std::string to_text(const Sheet& sheet);

// The steps above. False: the row is not (any more) as it must be, and is left alone.
bool order(Row& row, uint64_t epoch);
bool withdraw_order(Row& row, uint64_t epoch);  // of a lower one
bool take_back(Row& row, std::string why);
bool start(Row& row, uint64_t epoch, uint32_t attempt, const std::string& life, std::string now);
// `state`: kOk, kGone or kFailed.
bool finish(Row& row, uint32_t attempt, const std::string& life, RowState state, std::string why,
            std::string now);
// The host could not even run it: it was ordered, and no hook was run.
bool fail_order(Row& row, uint64_t epoch, uint32_t attempt, std::string why, std::string now);
bool lose_sight(Row& row, std::string why);
bool do_again(Row& row, uint32_t attempt);
bool mark_done(Row& row, std::string by, std::string now);

}  // namespace keyfs
