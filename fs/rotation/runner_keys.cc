// The first part of a run: its keys are rotated.
#include <algorithm>
#include <utility>

#include "base/retry.h"
#include "fs/rotation/runner.h"

namespace keyfs {
namespace {

// Why it will not be done, ever, or not now.
void put_off(RunKey& key, const Error& error) {
  key.state = may_be_done_later(error.code) ? RunKey::State::kOverdue : RunKey::State::kRefused;
  key.why = error.message;
}

void note(RunKey& key, const Result<Promotion>& changed) {
  if (!changed) return put_off(key, changed.error());
  const Promotion& promotion = *changed;
  if (promotion.outcome == Promotion::Outcome::kNot) {
    return put_off(key, promotion.not_promoted.value_or(
                            Error(Code::kUnavailable, "the new version is not current yet")));
  }
  key.state = RunKey::State::kCurrent;
  key.before = promotion.before;
  key.current = promotion.current;
  key.why.clear();
  key.missing.clear();
  for (const RegionFailure& failure : promotion.missing) key.missing.push_back(failure.region);
  if (!promotion.missing.empty()) {
    const RegionFailure& first = promotion.missing.front();
    key.why = first.region + ": " + first.error.message;
  }
}

}  // namespace

bool may_be_done_later(Code code) {
  return may_pass(code) || code == Code::kDenied || code == Code::kUnauthenticated;
}

Task<Result<Promotion>> Runner::change(const RunKey& key) {
  if (key.promote != 0) return changer_.promote(key.id, key.promote, key.promote_from);
  return changer_.rotate(key.id, key.rotation.empty() ? key.token : key.rotation);
}

Task<Runner::Step> Runner::rotate_keys() {
  for (size_t place = 0; place < run_->keys.size(); ++place) {
    if (run_->keys[place].state != RunKey::State::kWaiting) continue;
    if (auto ok = may_act(); !ok) co_return fail(ok.error());
    const RunKey asked = run_->keys[place];
    const auto changed = co_await change(asked);
    RunKey& key = run_->keys[place];
    note(key, changed);
    // Done by whoever put the ticket, before that; unless it was done by us or by a predecessor.
    const bool before = changed && changed->outcome == Promotion::Outcome::kAlready &&
                        begun_here_ == run_->run && current_of_ != run_->run;
    const TimePoint at = before ? std::max(last_due_, current_at_) : loop_.now();
    if (!before) current_of_ = run_->run;
    current_at_ = at;
    if (key.state != RunKey::State::kCurrent) {
      log_.warn("a key was not rotated",
                {{"id", key.id}, {"state", to_string(key.state)}, {"reason", key.why}});
    }
    if (auto ok = co_await save(); !ok) co_return fail(ok.error());
  }
  for (size_t place = 0; place < run_->keys.size(); ++place) {
    const RunKey key = run_->keys[place];
    if (auto ok = co_await settle_ticket(key); !ok) co_return fail(ok.error());
  }
  const bool any = std::any_of(run_->keys.begin(), run_->keys.end(), [](const RunKey& key) {
    return key.state == RunKey::State::kCurrent;
  });
  run_->state = any ? RunDocument::State::kEnrolling : RunDocument::State::kEnded;
  if (!any) {
    run_->end = RunDocument::End::kInPart;
    run_->ended = now();
  }
  if (auto ok = co_await save(); !ok) co_return fail(ok.error());
  co_return Duration::zero();
}

// Removes the ticket of a key that is done with, or writes on it that it is overdue.
Task<Result<void>> Runner::settle_ticket(const RunKey& key) {
  const bool stays = key.state == RunKey::State::kOverdue;
  for (;;) {
    auto there = co_await board_.get(ticket_name(key.token), until());
    if (!there) co_return fail(there.error());
    if (!*there) co_return Result<void>();
    if (auto ok = may_act(); !ok) co_return ok;
    if (!stays) {
      auto removed = co_await board_.remove((*there)->name, (*there)->revision, until());
      if (!removed) co_return fail(removed.error());
      if (removed->done) co_return Result<void>();
      continue;
    }
    auto ticket = parse_ticket((*there)->text);
    if (!ticket || !ticket->overdue_since.empty()) co_return Result<void>();
    ticket->overdue_since = now();
    ticket->overdue_why = key.why;
    auto written =
        co_await board_.replace((*there)->name, to_text(*ticket), (*there)->revision, until());
    if (!written) co_return fail(written.error());
    if (written->done) co_return Result<void>();
  }
}

}  // namespace keyfs
