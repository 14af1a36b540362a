// The pulse: a small document on the board that idle hosts look at, by one cheap read. It says
// which records changed last, and whether there is something to do for rotation.
//
// It holds the last 64 changed ids at most, and as many as fit into kMaxPulseBytes, so that reading
// it stays half a read unit in DynamoDB. A host remembers how far it has heard (PulsePlace); one
// that has missed more hears of a gap, and so does one that finds another pulse under the same name
// (a board that was made anew, a restored backup).
//
// It may lag behind the records: whoever changes a record notes that afterwards, and may die in
// between. So nothing is proven by a pulse that is silent.
//
// Thread-safety: none; plain values, and a coroutine on the loop's thread. Blocking: never. Errors:
// kCorrupt for what is no pulse; of tell_pulse() those of the board, and kTimeout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "store/board.h"

namespace keyfs {

inline constexpr size_t kMaxPulseChanges = 64;
inline constexpr size_t kMaxPulseBytes = 3500;

struct PulsePlace {
  std::string life;     // which pulse it was; empty: none was seen
  uint64_t serial = 0;  // of its newest change
  bool operator==(const PulsePlace&) const = default;
};

struct Pulse {
  PulsePlace place;
  std::vector<std::string> changed;  // ids, the newest last; each serial is one more than before
  // For rotation: how many tickets were ever put, and the run that is going on; empty: none.
  uint64_t tickets = 0;
  std::string run{};
  // How many tickets could not be done yet, so that every host can tell its operator.
  uint64_t overdue = 0;

  // Which records changed since `seen`, each once; nullopt: a gap, any may have.
  std::optional<std::vector<std::string>> since(const PulsePlace& seen) const;
  void add(const std::string& id);
};

// There may be several copies, 0, 1, ..., so that not all hosts read the same one; `shards` is the
// same on all hosts.
std::string pulse_name(unsigned shard = 0);
// The copy that this host reads.
unsigned pulse_shard(std::string_view host, unsigned shards);

Result<Pulse> parse_pulse(std::string_view text);
// Leaves out the oldest changes where it would get too large.
std::string to_text(Pulse pulse);

struct PulseNews {
  std::vector<std::string> changed;   // ids
  uint64_t tickets = 0;               // so many more were put
  std::optional<std::string> run;     // the run that is going on now; empty: none
  std::optional<uint64_t> overdue{};  // so many tickets could not be done yet
  // Asked right before each write; its error ends it. May be null.
  std::function<Result<void>()> may_write{};
};

// Tells it in all of `shards` copies. What is told twice does no harm.
Task<Result<void>> tell_pulse(Board& board, Loop& loop, Random& random, PulseNews news,
                              unsigned shards, TimePoint deadline);

}  // namespace keyfs
