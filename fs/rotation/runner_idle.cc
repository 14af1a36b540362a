// Between runs: tickets.
#include <algorithm>
#include <tuple>
#include <utility>

#include "base/retry.h"
#include "fs/rotation/runner.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// So many runs are asked whether they did a ticket that has come back: a put that was sent again
// may bring back one that was removed.
constexpr uint64_t kRunsThatRemember = 3;
constexpr int kSettles = 10;  // of tickets that come one after another

}  // namespace

Task<Runner::Step> Runner::idle() {
  run_.reset();
  // The pulse must not name a run that is over, or hosts would look for it.
  if (!announced_) {
    if (auto ok = co_await announce(); !ok) co_return fail(ok.error());
  }
  const TimePoint at = loop_.now();
  const Duration while_settling = std::clamp<Duration>(options_.settle / 10, 100ms, 5s);
  const Duration list_within = due_.empty() ? options_.list_every : while_settling;
  if (tickets_dirty_ || at >= listed_tickets_ + list_within) {
    auto began = co_await look_at_tickets();
    if (!began) co_return fail(began.error());
    if (*began) co_return Duration::zero();
    if (told_overdue_ != overdue_.size()) {
      if (auto ok = co_await announce(); !ok) co_return fail(ok.error());
    }
  }
  if (!due_.empty()) {
    const TimePoint quiet = last_due_ + options_.settle;
    const TimePoint latest = first_due_ + kSettles * options_.settle;
    if (loop_.now() >= std::min(quiet, latest) || due_.size() >= kMaxRunKeys) {
      auto ok = co_await begin_run(due_);
      if (!ok) co_return fail(ok.error());
      co_return Duration::zero();
    }
    co_return std::max<Duration>(1ms,
                                 std::min(while_settling, std::min(quiet, latest) - loop_.now()));
  }
  // A ticket that was overdue is one like others now; nobody else tells of it.
  if (tickets_dirty_) co_return Duration::zero();
  Duration pause = options_.list_every;
  for (const auto& [token, overdue] : overdue_) {
    pause = std::min(pause, std::max<Duration>(1ms, overdue.next - loop_.now()));
    if (overdue.next <= loop_.now()) tickets_dirty_ = true;
  }
  co_return pause;
}

// True: a run was begun again.
Task<Result<bool>> Runner::look_at_tickets() {
  tickets_dirty_ = false;
  auto seen = co_await list_tickets(board_, until());
  if (!seen) co_return fail(seen.error());
  listed_tickets_ = loop_.now();
  for (const std::string& name : seen->corrupt) {
    log_.warn("what is on the board is no ticket, and is left alone", {{"name", name}});
  }
  due_.clear();
  std::set<std::string> known;
  std::set<std::string> waiting;  // overdue ones
  for (auto& one : seen->tickets) {
    const Ticket& ticket = one.ticket;
    if (ticket.kind == Ticket::Kind::kStop) {
      // Of a run that has ended, or was never begun.
      if (auto ok = co_await remove(one.document); !ok) co_return fail(ok.error());
      continue;
    }
    if (ticket.kind == Ticket::Kind::kRetry) {
      auto begun = co_await retry_run(one);
      if (!begun) co_return fail(begun.error());
      if (!*begun) continue;
      forget();
      co_return true;
    }
    if (!ticket.overdue_since.empty()) {
      waiting.insert(ticket.token);
      auto ready = co_await try_overdue(one);
      if (!ready) co_return fail(ready.error());
      if (!*ready) continue;
      waiting.erase(ticket.token);
      tickets_dirty_ = true;  // its document is another one now
      continue;
    }
    if (!known_.contains(ticket.token)) {
      if (known_.empty() && known.empty()) first_due_ = loop_.now();
      last_due_ = loop_.now();
    }
    known.insert(ticket.token);
    due_.push_back(std::move(one));
  }
  known_ = std::move(known);
  std::erase_if(overdue_, [&](const auto& one) { return !waiting.contains(one.first); });
  co_return false;
}

Task<Result<void>> Runner::remove(BoardDocument document) {
  if (auto ok = may_act(); !ok) co_return ok;
  auto removed = co_await board_.remove(document.name, document.revision, until());
  if (!removed) co_return fail(removed.error());
  co_return Result<void>();  // one that was changed meanwhile is looked at again
}

// Takes out tickets that the last runs have done.
Task<Result<void>> Runner::drop_ghosts(std::vector<TicketsSeen::Seen>& tickets) {
  std::vector<TicketsSeen::Seen> good = std::move(tickets);
  for (uint64_t back = 0; back < kRunsThatRemember && back < now_->number; ++back) {
    const std::string name = run_name(run_of(now_->number - back));
    auto there = co_await board_.get(name, until());
    if (!there && there.error().code != Code::kCorrupt) co_return fail(there.error());
    if (there && !*there) continue;
    auto run = Result<RunDocument>(RunDocument());
    if (there) {
      run = parse_run((*there)->text);
    } else {
      run = fail(there.error());
    }
    if (!run) {
      // A ticket of it that comes back finds its key rotated already.
      log_.warn(
          "the document of a rotation that has ended is damaged: its report is lost, and old "
          "versions are not retired until it is removed from the board; rotations go on",
          {{"document", name}});
      continue;
    }
    std::vector<TicketsSeen::Seen> left;
    for (auto& one : good) {
      const bool done = std::any_of(run->keys.begin(), run->keys.end(), [&](const RunKey& key) {
        return key.token == one.ticket.token && key.state != RunKey::State::kOverdue &&
               key.state != RunKey::State::kWaiting;
      });
      if (!done) {
        left.push_back(std::move(one));
        continue;
      }
      if (auto ok = co_await remove(one.document); !ok) co_return ok;
    }
    good = std::move(left);
  }
  tickets = std::move(good);
  co_return Result<void>();
}

Task<Result<void>> Runner::begin_run(std::vector<TicketsSeen::Seen> tickets) {
  due_.clear();
  known_.clear();
  tickets_dirty_ = true;  // what does not go into this run is looked at after it
  if (auto ok = co_await drop_ghosts(tickets); !ok) co_return ok;
  // The oldest first, so that nobody waits for ever behind others' tokens.
  std::sort(tickets.begin(), tickets.end(), [](const auto& a, const auto& b) {
    return std::tie(a.ticket.asked, a.ticket.token) < std::tie(b.ticket.asked, b.ticket.token);
  });
  RunDocument run;
  run.run = run_of(now_->number + 1);
  run.epoch = tenure_.epoch();
  run.holder = options_.host;
  run.begun = now();
  size_t bytes = 0;
  for (const auto& one : tickets) {
    const Ticket& ticket = one.ticket;
    bytes += ticket.id.size() + ticket.token.size() + ticket.rotation.size();
    if (run.keys.size() == kMaxRunKeys || bytes > kMaxRunKeyBytes) break;
    RunKey key;
    key.id = ticket.id;
    key.token = ticket.token;
    key.rotation = ticket.rotation;
    key.promote = ticket.kind == Ticket::Kind::kPromote ? ticket.version : 0;
    key.promote_from = ticket.from;
    run.keys.push_back(std::move(key));
  }
  if (run.keys.empty()) co_return Result<void>();
  if (auto ok = may_act(); !ok) co_return ok;
  auto put = co_await board_.put_if_absent(run_name(run.run), to_text(run), until());
  if (!put) co_return fail(put.error());
  // One that is there already was put by somebody who got no further: it is as good as ours, and
  // what it leaves out is in the next one.
  if (auto ok = co_await set_now(run.run, now_->number + 1); !ok) co_return ok;
  begun_here_ = run.run;
  log_.info("a rotation begins", {{"run", run.run}, {"keys", keys_told(run.keys).size()}});
  forget();
  co_return Result<void>();
}

// Begins an ended run again, for what it has left undone.
Task<Result<bool>> Runner::retry_run(TicketsSeen::Seen seen) {
  bool begun_again = false;
  const Ticket ticket = seen.ticket;
  auto there = co_await load(ticket.run);
  if (!there && there.error().code == Code::kCorrupt) {
    // It would hold up all others.
    log_.warn("a rotation cannot be done again, since its document is damaged",
              {{"document", run_name(ticket.run)}});
    there = false;
  }
  if (!there) co_return fail(there.error());
  const auto left_undone = [&] {
    const RunCounts& counts = run_->counts;
    return counts.failed + counts.unknown + counts.not_tried + run_->unheard.size() +
               run_->unheard_more >
           0;
  };
  const bool begun = *there && run_->has_token(ticket.token);
  const bool to_begin =
      *there && !begun && run_->state == RunDocument::State::kEnded && left_undone();
  if (to_begin) {
    run_->state = RunDocument::State::kEnrolling;
    ++run_->attempt;
    run_->epoch = tenure_.epoch();
    run_->holder = options_.host;
    run_->retries.push_back(ticket.token);
    run_->ended.clear();
    run_->end = RunDocument::End::kNone;
    run_->stop_why.clear();
    run_->in_a_row = 0;
    run_->notice = RunDocument::Notice::kNone;
    run_->notice_why.clear();
    if (auto ok = co_await save(); !ok) co_return fail(ok.error());
  }
  if (to_begin || (begun && run_->state != RunDocument::State::kEnded)) {
    if (auto ok = co_await set_now(ticket.run, now_->number); !ok) co_return fail(ok.error());
    log_.info("a rotation is done again where it failed",
              {{"run", ticket.run}, {"attempt", run_->attempt}});
    begun_again = true;
  }
  run_.reset();
  announced_ = false;
  auto removed = co_await remove(seen.document);
  if (!removed) co_return fail(removed.error());
  co_return begun_again;
}

// True: it is overdue no more, and its ticket says so.
Task<Result<bool>> Runner::try_overdue(TicketsSeen::Seen seen) {
  Overdue& overdue = overdue_[seen.ticket.token];
  overdue.ticket = seen.ticket;
  const Backoff backoff{options_.overdue_first, options_.overdue_most};
  if (overdue.next == TimePoint{}) overdue.next = loop_.now() + backoff.longest(0);
  if (loop_.now() < overdue.next) co_return false;
  const std::string token = seen.ticket.token;
  RunKey key;
  key.id = seen.ticket.id;
  key.token = token;
  key.rotation = seen.ticket.rotation;
  key.promote = seen.ticket.version;
  key.promote_from = seen.ticket.from;
  if (auto ok = may_act(); !ok) co_return fail(ok.error());
  const auto changed = co_await change(key);
  const bool again = changed
                         ? changed->outcome == Promotion::Outcome::kNot && changed->not_promoted &&
                               may_be_done_later(changed->not_promoted->code)
                         : may_be_done_later(changed.error().code);
  if (again) {
    Overdue& later = overdue_[token];
    later.next = loop_.now() + backoff.longest(++later.tries);
    co_return false;
  }
  // A run follows, which finds it done, and tells the consumers.
  seen.ticket.overdue_since.clear();
  seen.ticket.overdue_why.clear();
  if (auto ok = may_act(); !ok) co_return fail(ok.error());
  auto written = co_await board_.replace(seen.document.name, to_text(seen.ticket),
                                         seen.document.revision, until());
  if (!written) co_return fail(written.error());
  co_return written->done;
}

}  // namespace keyfs
