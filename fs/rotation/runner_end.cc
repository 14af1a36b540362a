// The end of a run.
#include <string>
#include <utility>

#include "fs/rotation/retire_notes.h"
#include "fs/rotation/runner.h"

namespace keyfs {

Task<Runner::Step> Runner::end_run() {
  using Notice = RunDocument::Notice;
  const std::string end = run_->run + "/" + std::to_string(run_->attempt);
  if (run_->notice == Notice::kSending && end != announced_end_) {
    // Whoever sent it did not get to say how it went. Better none than two.
    run_->notice = Notice::kFailed;
    run_->notice_why = "the host that sent it stopped before it could note whether it arrived";
    if (auto ok = co_await save(); !ok) co_return fail(ok.error());
  }
  if (announcer_.tells() && run_->notice == Notice::kNone) {
    if (auto ok = co_await list_sheets(); !ok) co_return fail(ok.error());
    run_->notice = Notice::kSending;
    if (auto ok = co_await save(); !ok) co_return fail(ok.error());
    announced_end_ = end;
    announcer_.ended(view());
  }
  const RunCounts& counts = run_->counts;
  log_.info("a rotation has ended", {{"run", run_->run},
                                     {"end", to_string(run_->end)},
                                     {"consumers", counts.total},
                                     {"failed", counts.failed + counts.unknown},
                                     {"not_tried", counts.not_tried},
                                     {"not_heard_from", run_->unheard.size()}});
  // Before the run is over: whoever comes after a crash ends it once more, and notes the same.
  auto noted = co_await note_old_versions(*run_);
  if (!noted) {
    // It is found in the run.
    log_.warn("which old versions may be retired after a rotation could not be noted now",
              {{"run", run_->run}, {"reason", noted.error().message}});
  }
  if (auto ok = co_await set_now("", now_->number); !ok) co_return fail(ok.error());
  ++ended_[run_->end];
  auto cleaned = co_await clean_up();
  if (!cleaned) {
    log_.warn("an old run could not be removed from the board",
              {{"reason", cleaned.error().message}});
  }
  forget();
  co_return Duration::zero();
}

Task<Result<void>> Runner::note_old_versions(RunDocument run) {
  if (!options_.retires) co_return Result<void>();
  std::function<Result<void>()> may_write = [this] { return may_act(); };  // named: g++ 12
  co_return co_await note_retirement(board_, loop_, std::move(run), options_.retires,
                                     std::move(may_write), options_.call);
}

// Removes the run that is too old to be kept.
Task<Result<void>> Runner::clean_up() {
  if (now_->number <= options_.keep_runs) co_return Result<void>();
  const std::string old = run_of(now_->number - options_.keep_runs);
  auto there = co_await board_.get(run_name(old), until());
  if (!there) co_return fail(there.error());
  if (*there) {
    // What it says and a crash has left out of the notes ends with it.
    auto run = parse_run((*there)->text);
    if (run) {
      if (auto ok = co_await note_old_versions(std::move(*run)); !ok) co_return ok;
    }
  }
  for (;;) {
    auto page = co_await board_.list(sheets_of(old), "", kMaxBoardPage, until());
    if (!page) co_return fail(page.error());
    for (const BoardDocument& document : page->documents) {
      if (auto ok = co_await remove(document); !ok) co_return ok;
    }
    if (!page->next || page->documents.empty()) break;
  }
  if (!*there) co_return Result<void>();
  co_return co_await remove(**there);
}

}  // namespace keyfs
