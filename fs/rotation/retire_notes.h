// What runs say about the old versions of their keys: that these may be retired, since every
// consumer has taken the new one.
//
// It is noted in small documents beside the runs, since runs are not kept for as long as
// `retire_after` may be:
//
//   retire/ID  {"id", "version", "since", "run"}   the run that made this version current was whole
//                                                  for the key when it ended, or by a `done` later
//
// There is one for each key: that of its last run. Whoever notes does it before the run is told to
// be over or is removed, so that what a crash leaves undone is done by who comes next; what is noted
// twice is the same document.
//
// Thread-safety: plain values, and a coroutine on the loop's thread. Ownership: board and loop
// outlive the task. Blocking: never. Errors: kCorrupt for what is no such document; of
// note_retirement() the board's, kTimeout, and those of `may_write`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/rotation/documents.h"
#include "store/board.h"

namespace keyfs {

inline constexpr const char* kRetirePrefix = "retire/";

struct RetireNote {
  std::string id;
  uint32_t version = 0;  // that the run made current: lower ones may be retired
  std::string since;     // the run's end
  std::string run;
  bool operator==(const RetireNote&) const = default;
};

std::string retire_name(const std::string& id);  // of its document
Result<RetireNote> parse_retire_note(std::string_view text);
std::string to_text(const RetireNote& note);

// Whether `run` was begun after `other`.
bool is_later_run(std::string_view run, std::string_view other);

// What a run says about one of its keys that has a new version.
struct RetireWord {
  RetireNote note;
  bool whole = false;  // false: not, or not yet; nor is what an earlier run has said any more
};
std::vector<RetireWord> retire_words(const RunDocument& run);

// Notes what the run says of those keys that are `wanted` (null: of all), or takes back what an
// earlier run has noted. `may_write`: asked before each write; may be null.
Task<Result<void>> note_retirement(Board& board, Loop& loop, RunDocument run,
                                   std::function<bool(const std::string& id)> wanted,
                                   std::function<Result<void>()> may_write, Duration call);

}  // namespace keyfs
