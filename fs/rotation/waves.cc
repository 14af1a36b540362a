#include "fs/rotation/waves.h"

#include <algorithm>
#include <compare>
#include <utility>

#include "base/siphash.h"

namespace keyfs {
namespace {

bool is_tellable(const Row& row) { return row.consumer != kUnknownPrograms; }

void count_row(RunCounts& counts, const Row& row) {
  ++counts.total;
  switch (row.state) {
    case RowState::kWaiting:
      ++counts.waiting;
      break;
    case RowState::kOrdered:
    case RowState::kStarted:
      ++counts.active;
      break;
    case RowState::kOk:
      ++counts.ok;
      break;
    case RowState::kGone:
      ++counts.gone;
      break;
    case RowState::kFailed:
      ++counts.failed;
      break;
    case RowState::kUnknown:
      ++counts.unknown;
      break;
    case RowState::kNotTried:
      ++counts.not_tried;
      break;
    case RowState::kDone:
      ++counts.done;
      break;
  }
}

RunCounts count_rows(const Sheets& sheets, bool untellable_too) {
  RunCounts counts;
  for (const auto& [name, seen] : sheets) {
    for (const Row& row : seen.sheet.rows) {
      if (untellable_too || is_tellable(row)) count_row(counts, row);
    }
  }
  return counts;
}

}  // namespace

RunCounts count(const Sheets& sheets) { return count_rows(sheets, true); }

RunCounts count_tellable(const Sheets& sheets) { return count_rows(sheets, false); }

size_t wave_limit(size_t total, size_t over) {
  const auto part = [&](size_t percent) { return (total * percent + 99) / 100; };
  for (const size_t wave : {std::min<size_t>(total, 1), part(1), part(10)}) {
    if (over < wave) return wave;
  }
  return total;
}

std::vector<RowPlace> next_to_tell(const Sheets& sheets, unsigned parallel, const Doubts& doubts) {
  const RunCounts counts = count(sheets);
  size_t active = counts.active;
  for (const RowPlace& place : doubts.not_awaited) {
    const auto seen = sheets.find(place.sheet);
    const Row* row = seen == sheets.end() ? nullptr : seen->second.sheet.find(place.consumer);
    if (row != nullptr && row->active()) --active;
  }
  const size_t over = counts.total - counts.waiting - active;
  const size_t limit = wave_limit(counts.total, over);
  const size_t in_wave = limit - std::min(limit, over + active);
  const size_t at_once = parallel - std::min<size_t>(parallel, active);
  const size_t many = std::min({in_wave, at_once, counts.waiting});
  if (many == 0) return {};

  const SipHash hash;  // with a well-known key: every host computes the same
  struct Waiting {
    bool last;
    uint64_t turn;
    RowPlace place;
    auto operator<=>(const Waiting&) const = default;
  };
  std::vector<Waiting> waiting;
  for (const auto& [name, seen] : sheets) {
    const bool last = doubts.hosts.contains(seen.sheet.host);
    for (const Row& row : seen.sheet.rows) {
      if (row.state != RowState::kWaiting) continue;
      waiting.push_back({last, hash(name + " " + row.consumer), {name, row.consumer}});
    }
  }
  std::partial_sort(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(many),
                    waiting.end());
  std::vector<RowPlace> next;
  for (size_t i = 0; i < many; ++i) next.push_back(std::move(waiting[i].place));
  return next;
}

bool can_stop(const Sheets& sheets) {
  return std::any_of(sheets.begin(), sheets.end(), [](const auto& seen) {
    const auto& rows = seen.second.sheet.rows;
    return std::any_of(rows.begin(), rows.end(), [](const Row& row) {
      const bool untold = row.state == RowState::kWaiting || row.state == RowState::kOrdered;
      return untold && is_tellable(row);
    });
  });
}

std::optional<std::string> must_stop(const RunCounts& counts, unsigned in_a_row,
                                     const StopAfter& limits, bool others) {
  if (limits.in_a_row != 0 && in_a_row >= limits.in_a_row) {
    return std::to_string(in_a_row) + " consumers failed in a row";
  }
  const size_t failed = counts.failed + counts.unknown;
  if (failed >= std::max(limits.least, 1u) && limits.percent < 100 &&
      failed * 100 >= counts.total * limits.percent) {
    return std::to_string(failed) + " of " + std::to_string(counts.total) +
           (others ? " consumers that can be told failed" : " consumers failed");
  }
  return std::nullopt;
}

}  // namespace keyfs
