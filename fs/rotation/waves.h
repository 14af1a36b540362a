// Which consumers are told next, and when to stop: pure functions of a run's sheets.
//
// Consumers are told in waves: one alone, then until 1 % of all were told, then 10 %, then the
// rest; each wave is over before the next begins. Within a wave at most `parallel` are told at
// once. Their order is that of a hash of run, host and consumer: the same for whoever computes it,
// and spread over hosts. Those of hosts that may be dead come last: nobody else is to wait for the
// time that such a host has to answer.
//
// Thread-safety: pure functions. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fs/rotation/documents.h"
#include "fs/rotation/sheet.h"
#include "store/board.h"

namespace keyfs {

struct SeenSheet {
  Sheet sheet;
  std::string revision;
};
using Sheets = std::map<std::string, SeenSheet>;  // by the document's name

struct RowPlace {
  std::string sheet;
  std::string consumer;
  auto operator<=>(const RowPlace&) const = default;
};

// What is known of hosts that have shown no life for a while.
struct Doubts {
  std::set<std::string> hosts{};     // whose consumers are told last
  std::set<RowPlace> not_awaited{};  // active, and hold up nobody else
};

RunCounts count(const Sheets& sheets);
// The same of those that there is a way to tell: without kUnknownPrograms.
RunCounts count_tellable(const Sheets& sheets);
// Whom to order now, so that with those that are active the wave is kept.
std::vector<RowPlace> next_to_tell(const Sheets& sheets, unsigned parallel,
                                   const Doubts& doubts = {});
// How many of `total` may have been told or be active when so many are over.
size_t wave_limit(size_t total, size_t over);

// Whether a stop would leave anybody out: those whose hooks run are waited for in any case, and
// there is nobody to tell of kUnknownPrograms.
bool can_stop(const Sheets& sheets);

struct StopAfter {
  unsigned percent = 20;  // of all consumers failed, and at least `least` of them
  unsigned least = 3;
  unsigned in_a_row = 5;
};
// Why to stop; nullopt: go on. `counts`: of those that can be told; `others`: there are others, who
// are counted where the run is shown.
std::optional<std::string> must_stop(const RunCounts& counts, unsigned in_a_row,
                                     const StopAfter& limits, bool others = false);

}  // namespace keyfs
