#include "fs/rotation/runs.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "fs/rotation/retire_notes.h"
#include "store/board_update.h"

namespace keyfs {
namespace {

Task<Result<Sheets>> sheets_of_run(Board& board, std::string run, TimePoint deadline) {
  Sheets sheets;
  std::string after;
  for (;;) {
    auto page = co_await board.list(sheets_of(run), after, kMaxBoardPage, deadline);
    if (!page) co_return fail(page.error());
    for (BoardDocument& document : page->documents) {
      auto sheet = parse_sheet(document.text);
      if (!sheet) co_return fail(sheet.error());
      sheets[document.name] = {std::move(*sheet), std::move(document.revision)};
    }
    if (!page->next) co_return sheets;
    after = std::move(*page->next);
  }
}

}  // namespace

Task<Result<RotationView>> look_at_rotation(Board& board, TimePoint deadline) {
  RotationView view;
  auto head_there = co_await board.get(kHeadName, deadline);
  if (!head_there) co_return fail(head_there.error());
  if (*head_there) {
    const auto head = parse_head((*head_there)->text);
    if (!head) co_return fail(head.error());
    view.holder = head->holder;
  }
  auto now_there = co_await board.get(kNowName, deadline);
  if (!now_there) co_return fail(now_there.error());
  if (*now_there) {
    const auto now = parse_run_now((*now_there)->text);
    if (!now) co_return fail(now.error());
    view.run = now->run;
  }
  auto tickets = co_await list_tickets(board, deadline);
  if (!tickets) co_return fail(tickets.error());
  for (auto& seen : tickets->tickets) {
    auto& list = seen.ticket.overdue_since.empty() ? view.waiting : view.overdue;
    list.push_back(std::move(seen.ticket));
  }
  co_return view;
}

Task<Result<RunsSeen>> list_runs(Board& board, TimePoint deadline) {
  RunsSeen seen;
  std::string after;
  for (;;) {
    auto page = co_await board.list(kRunsPrefix, after, kMaxBoardPage, deadline);
    if (!page) co_return fail(page.error());
    std::vector<std::string> damaged = std::move(page->corrupt);
    for (const BoardDocument& document : page->documents) {
      auto run = parse_run(document.text);
      if (run && run_name(run->run) == document.name) {
        seen.runs.push_back(std::move(*run));
      } else {
        damaged.push_back(document.name);
      }
    }
    for (std::string& name : damaged) {
      if (name.starts_with(kRunsPrefix)) name.erase(0, std::strlen(kRunsPrefix));
      seen.damaged.push_back(std::move(name));
    }
    if (!page->next) co_return seen;
    after = std::move(*page->next);
  }
}

Task<Result<std::optional<RunView>>> look_at_run(Board& board, std::string run,
                                                 TimePoint deadline) {
  if (!is_run(run)) co_return std::optional<RunView>();
  auto there = co_await board.get(run_name(run), deadline);
  if (!there) co_return fail(there.error());
  if (!*there) co_return std::optional<RunView>();
  auto document = parse_run((*there)->text);
  if (!document) co_return fail(document.error());
  auto sheets = co_await sheets_of_run(board, run, deadline);
  if (!sheets) co_return fail(sheets.error());
  co_return std::optional<RunView>(RunView{std::move(*document), std::move(*sheets)});
}

Task<Result<size_t>> mark_done(Board& board, Loop& loop, std::string run, std::string consumer,
                               std::string by, TimePoint deadline) {
  auto view = co_await look_at_run(board, run, deadline);
  if (!view) co_return fail(view.error());
  if (!*view) co_return fail(Code::kInvalid, "there is no run " + run + " (any more)");
  const std::string at = to_rfc3339(loop.clock().wall());
  size_t marked = 0;
  std::vector<std::string> names;
  for (const auto& [name, seen] : (*view)->sheets) names.push_back(name);
  Sheets sheets = std::move((*view)->sheets);
  for (const std::string& name : names) {
    size_t here = 0;
    std::optional<Sheet> last;
    ChangeDocument mark = [&](const BoardDocument* there) -> Result<std::optional<std::string>> {
      here = 0;
      last.reset();
      if (there == nullptr) return std::nullopt;
      auto sheet = parse_sheet(there->text);
      if (!sheet) return fail(sheet.error());
      for (Row& row : sheet->rows) {
        if (row.consumer != consumer && sheet->host + "/" + row.consumer != consumer) continue;
        if (mark_done(row, by, at)) ++here;
      }
      last = std::move(*sheet);
      if (here == 0) return std::nullopt;
      return to_text(*last);
    };
    auto changed = co_await update_document(board, loop, name, std::move(mark), deadline);
    if (!changed) co_return fail(changed.error());
    marked += here;
    if (last) sheets[name].sheet = std::move(*last);
  }
  // What the run says of itself; while it is going on its runner does that.
  bool excused = false;
  std::optional<RunDocument> said;
  const RunCounts counts = count(sheets);
  ChangeDocument tell = [&](const BoardDocument* there) -> Result<std::optional<std::string>> {
    excused = false;
    said.reset();
    if (there == nullptr) return std::nullopt;
    auto document = parse_run(there->text);
    if (!document) return fail(document.error());
    said = *document;
    const auto at_host = std::find(document->unheard.begin(), document->unheard.end(), consumer);
    if (at_host != document->unheard.end() && document->excused.size() < kMaxNamedHosts) {
      document->unheard.erase(at_host);
      document->excused.insert(consumer);
      excused = true;
    }
    const bool ended = document->state == RunDocument::State::kEnded;
    if (!excused && (marked == 0 || !ended)) return std::nullopt;
    if (ended) {
      document->counts = counts;
      if (document->whole()) document->end = RunDocument::End::kComplete;
    }
    said = *document;
    return to_text(*document);
  };
  auto told = co_await update_document(board, loop, run_name(run), std::move(tell), deadline);
  if (!told) co_return fail(told.error());
  if (said && said->state == RunDocument::State::kEnded && said->all_told()) {
    // Nobody may be left whom the old versions are kept for. If it cannot be noted, the holder of
    // the lock finds it in the run.
    std::function<bool(const std::string&)> all;
    std::function<Result<void>()> freely;
    (void)co_await note_retirement(board, loop, std::move(*said), std::move(all), std::move(freely),
                                   deadline - loop.now());
  }
  co_return marked + (excused ? 1 : 0);
}

}  // namespace keyfs
