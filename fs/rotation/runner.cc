#include "fs/rotation/runner.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/race.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAfterAnError = 2s;

// Tickets of the run that is going on, which are looked at again once it has ended.
void add_overdue(const RunDocument& run, std::vector<Ticket>& overdue) {
  for (const RunKey& key : run.keys) {
    const bool known = std::any_of(overdue.begin(), overdue.end(),
                                   [&](const Ticket& ticket) { return ticket.token == key.token; });
    if (key.state != RunKey::State::kOverdue || known) continue;
    Ticket ticket;
    ticket.token = key.token;
    ticket.kind = key.promote != 0 ? Ticket::Kind::kPromote : Ticket::Kind::kRotate;
    ticket.id = key.id;
    ticket.version = key.promote;
    ticket.overdue_since = run.begun;
    ticket.overdue_why = key.why;
    overdue.push_back(std::move(ticket));
  }
}

}  // namespace

Runner::Runner(Loop& loop, Board& board, Log& log, Random& random, const Tenure& tenure,
               KeyChanger& changer, RunNotices* notices, RunnerOptions options)
    : loop_(loop),
      board_(board),
      log_(log),
      random_(random),
      tenure_(tenure),
      changer_(changer),
      options_(std::move(options)),
      announcer_(loop, board, log, tenure, notices),
      wake_(loop),
      stuck_(loop, log, "a rotation cannot go on now, and will be tried again",
             "rotations go on again") {}

Task<bool> Runner::work() {
  announced_end_.clear();
  TaskGroup<bool> tasks(loop_);
  tasks.start(steps());
  if (announcer_.tells()) tasks.start(announcer_.work());
  while (!tasks.empty()) co_await tasks.next();
  co_return true;
}

Task<bool> Runner::steps() {
  forget();
  // What this host knew when it held the lock before is old.
  listed_tickets_ = {};
  told_overdue_.reset();
  for (;;) {
    Duration pause = kAfterAnError;
    {
      auto done = co_await step();
      if (done) {
        pause = *done;
        stuck_.over();
      } else {
        stuck_.is(done.error(), run_ ? run_->run : std::string());
        // What was read or written is not known any more: begin from the documents.
        forget();
      }
    }
    if (pause > Duration::zero()) co_await wake_.wait(loop_.now() + pause);
  }
}

void Runner::forget() {
  now_.reset();
  run_.reset();
  tickets_dirty_ = true;
  announced_ = false;
  enrolling_since_.reset();
  expected_.clear();
  sheets_.clear();
  listed_sheets_ = {};
}

void Runner::on_pulse(const Pulse& pulse) {
  if (!pulse.run.empty()) board_known_ = true;
  if (tickets_told_ == pulse.tickets) return;
  tickets_told_ = pulse.tickets;
  tickets_dirty_ = true;
  wake_.set();
}

void Runner::on_board(const std::string& name) {
  if (name.empty() || name.starts_with(kTicketsPrefix)) tickets_dirty_ = true;
  if (name.empty() || name.starts_with(kTicketsPrefix) || name.starts_with(kRowsPrefix))
    wake_.set();
}

void Runner::on_new_board() {
  new_board_until_ = loop_.now() + options_.enrol_for;
  tickets_dirty_ = true;
  wake_.set();
}

Runner::Status Runner::status() const {
  Status status;
  if (now_) status.run = now_->run;
  if (run_ && !status.run.empty()) {
    status.document = *run_;
    status.counts = run_->counts;
  }
  status.waiting = due_.size();
  for (const auto& [token, overdue] : overdue_) status.overdue.push_back(overdue.ticket);
  if (status.document) add_overdue(*status.document, status.overdue);
  status.ended = ended_;
  return status;
}

Result<void> Runner::may_act() const {
  if (tenure_.may_act()) return {};
  return fail(Code::kUnavailable, "this host may not act for the others any more");
}

Task<Runner::Step> Runner::step() {
  if (auto ok = may_act(); !ok) co_return fail(ok.error());
  if (!now_) {
    if (auto opened = co_await open_now(); !opened) co_return fail(opened.error());
  }
  if (now_->run.empty()) co_return co_await idle();
  if (!run_) {
    auto there = co_await load(now_->run);
    if (!there) co_return fail(there.error());
    if (!*there) {
      // Somebody has removed it: there is nothing to go on with.
      log_.warn("the document of a run that was going on is gone: it ends here",
                {{"run", now_->run}});
      if (auto ok = co_await set_now("", now_->number); !ok) co_return fail(ok.error());
      co_return Duration::zero();
    }
    if (auto ok = co_await take_over(); !ok) co_return fail(ok.error());
  }
  switch (run_->state) {
    case RunDocument::State::kRotating:
      co_return co_await rotate_keys();
    case RunDocument::State::kEnrolling:
      co_return co_await enrol();
    case RunDocument::State::kTelling:
    case RunDocument::State::kStopping:
      co_return co_await tell();
    case RunDocument::State::kEnded:
      break;
  }
  co_return co_await end_run();
}

// Reads run/now and writes our epoch into it, so that nothing that a predecessor has under way can
// begin or end a run.
Task<Result<void>> Runner::open_now() {
  auto there = co_await board_.get(kNowName, until());
  if (!there) co_return fail(there.error());
  bool damaged = false;
  Result<RunNow> parsed = RunNow();
  if (*there) {
    parsed = parse_run_now((*there)->text);
    damaged = !parsed;
    board_known_ = true;
  } else if (std::exchange(board_known_, false)) {
    log_.warn("the board has lost what it knew of rotations");
    new_board_until_ = loop_.now() + options_.enrol_for;
  }
  // The first one of all, or somebody has removed it.
  if (damaged || !*there) parsed = co_await recovered_now();
  if (!parsed) co_return fail(parsed.error());
  RunNow now = std::move(*parsed);
  if (now.epoch > tenure_.epoch()) {
    co_return fail(Code::kUnavailable, "another host runs rotations now");
  }
  if (*there && !damaged && now.epoch == tenure_.epoch()) {
    now_ = std::move(now);
    now_revision_ = (*there)->revision;
    co_return Result<void>();
  }
  now.epoch = tenure_.epoch();
  now.settle_ms = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(options_.settle).count());
  if (auto ok = may_act(); !ok) co_return ok;
  auto writing = *there ? board_.replace(kNowName, to_text(now), (*there)->revision, until())
                        : board_.put_if_absent(kNowName, to_text(now), until());
  auto written = co_await std::move(writing);
  if (!written) co_return fail(written.error());
  if (!written->done) co_return fail(Code::kUnavailable, "another host has changed what run it is");
  board_known_ = true;
  if (damaged) {
    log_.error("the board's document run/now was damaged, and was written anew",
               {{"run", now.run}, {"number", now.number}});
  }
  now_ = std::move(now);
  now_revision_ = written->now ? written->now->revision : std::string();
  co_return Result<void>();
}

// A run is on the board before run/now names it, so that the highest number there, of a run or of
// hosts' sheets, is that of the last one; and one that has not ended is gone on with. That is safe
// for whoever holds the lock: what a predecessor sends is written on the old revision.
Task<Result<RunNow>> Runner::recovered_now() {
  auto seen = co_await list_runs(board_, until());
  if (!seen) co_return fail(seen.error());
  RunNow now;
  for (const RunDocument& run : seen->runs) {
    const uint64_t number = number_of_run(run.run).value_or(0);
    // A retry that was going on is of an older run than the last: the one that was written last
    // by the highest epoch is meant, and the newest of those.
    if (run.state != RunDocument::State::kEnded && run.epoch >= now.epoch) {
      now.run = run.run;
      now.epoch = run.epoch;
    }
    now.number = std::max(now.number, number);
  }
  for (const std::string& run : seen->damaged) {
    now.number = std::max(now.number, number_of_run(run).value_or(0));
  }
  // Sheets of a run whose document is gone would be taken for those of a new one.
  for (;;) {
    const std::string after = sheets_of(run_of(now.number));
    auto page = co_await board_.list(kRowsPrefix, end_of_board_prefix(after), 1, until());
    if (!page) co_return fail(page.error());
    std::vector<std::string> names = std::move(page->corrupt);
    for (const BoardDocument& document : page->documents) names.push_back(document.name);
    const uint64_t before = now.number;
    for (std::string& name : names) {
      name.erase(0, std::strlen(kRowsPrefix));
      name.resize(std::min(name.find('/'), name.size()));
      now.number = std::max(now.number, number_of_run(name).value_or(0));
    }
    if (now.number == before) break;
  }
  co_return now;
}

Task<Result<void>> Runner::set_now(std::string run, uint64_t number) {
  if (auto ok = may_act(); !ok) co_return ok;
  RunNow next = *now_;
  next.run = std::move(run);
  next.number = number;
  auto written = co_await board_.replace(kNowName, to_text(next), now_revision_, until());
  if (!written) co_return fail(written.error());
  if (!written->done || !written->now) {
    co_return fail(Code::kUnavailable, "another host has changed what run it is");
  }
  now_ = std::move(next);
  now_revision_ = written->now->revision;
  co_return Result<void>();
}

Task<Result<bool>> Runner::load(std::string run) {
  run_.reset();
  auto there = co_await board_.get(run_name(run), until());
  if (!there) co_return fail(there.error());
  if (!*there) co_return false;
  auto parsed = parse_run((*there)->text);
  if (!parsed) co_return fail(parsed.error());
  run_ = std::move(*parsed);
  run_revision_ = (*there)->revision;
  co_return true;
}

Task<Result<void>> Runner::save() {
  if (auto ok = may_act(); !ok) co_return ok;
  auto written =
      co_await board_.replace(run_name(run_->run), to_text(*run_), run_revision_, until());
  if (!written) co_return fail(written.error());
  if (!written->done || !written->now) {
    co_return fail(Code::kUnavailable, "the run was changed by somebody else meanwhile");
  }
  run_revision_ = written->now->revision;
  co_return Result<void>();
}

// Writes our epoch into the run: first of all, so that a predecessor writes to it no more.
Task<Result<void>> Runner::take_over() {
  if (run_->epoch > tenure_.epoch()) {
    co_return fail(Code::kUnavailable, "another host goes on with the run");
  }
  if (run_->epoch == tenure_.epoch()) co_return Result<void>();
  const bool from_another = run_->holder != options_.host;
  if (from_another) run_->takeovers.push_back(takeover_of(run_->holder, options_.host));
  run_->epoch = tenure_.epoch();
  run_->holder = options_.host;
  if (auto ok = co_await save(); !ok) co_return ok;
  if (!from_another || run_->state == RunDocument::State::kEnded) co_return Result<void>();
  log_.warn("this host goes on with a run of another", {{"run", run_->run}});
  if (!announcer_.tells()) co_return Result<void>();
  if (auto ok = co_await list_sheets(); !ok) co_return ok;
  announcer_.taken_over(view());
  co_return Result<void>();
}

}  // namespace keyfs
