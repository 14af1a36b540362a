#include "fs/cli/check_board.h"

#include "fs/rotation/documents.h"
#include "fs/rotation/watched_board.h"

namespace keyfs {

std::string damage_text(const std::string& names) {
  return "DAMAGED ON THE BOARD: " + names +
         ": no keys are rotated over the hosts meanwhile, and no consumers told; keys are served "
         "as ever. How to repair it: \"Repair of the board\" in keyfs(1) and README.md";
}

Task<std::optional<CheckItem>> check_board(Board& board, Loop& loop, TimePoint deadline) {
  WatchedBoard watched(loop, board);  // as a host that runs rotations finds them
  (void)co_await watched.get(kHeadName, deadline);
  const auto there = co_await watched.get(kNowName, deadline);
  if (there && *there) {
    const auto now = parse_run_now((*there)->text);
    if (now && !now->run.empty()) (void)co_await watched.get(run_name(now->run), deadline);
  }
  std::string names;
  for (const auto& [name, since] : watched.health().damaged) {
    names += (names.empty() ? "" : ", ") + name;
  }
  if (names.empty()) co_return std::nullopt;
  CheckItem item{"rotation", false, damage_text(names), "", false};
  co_return std::optional<CheckItem>(std::move(item));
}

}  // namespace keyfs
