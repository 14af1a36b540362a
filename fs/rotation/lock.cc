#include "fs/rotation/lock.h"

#include <algorithm>
#include <utility>

#include "base/race.h"
#include "fs/rotation/runs.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookForRepair = 30s;

}  // namespace

RunLock::RunLock(Loop& loop, Board& board, Log& log, RandomFraction random, LockOptions options)
    : loop_(loop),
      board_(board),
      log_(log),
      random_(std::move(random)),
      options_(std::move(options)),
      wake_(loop) {}

void RunLock::on_alert(Duration how_long) {
  const TimePoint until = loop_.now() + how_long;
  if (loop_.now() >= alert_until_) wake_.set();
  alert_until_ = std::max(alert_until_, until);
}

Task<void> RunLock::run(Work work) {
  for (;;) {
    co_await become_holder();
    {
      TaskGroup<bool> tasks(loop_);
      const size_t holding = tasks.start(hold());
      tasks.start(work());
      // Work that ended has nothing more to do; the lock is held all the same.
      for (;;) {
        const auto ended = co_await tasks.next();
        if (ended->number == holding) break;
      }
    }  // the work is dropped here, before anything else is waited for
    held_ = false;
  }
}

Task<void> RunLock::become_holder() {
  for (;;) {
    const auto got = co_await look();
    const bool damaged = !got && got.error().code == Code::kCorrupt;
    if (damaged && !damaged_) {
      log_.error(
          "the board's document run/head is damaged: no host runs rotations until it is removed; "
          "keys are served as ever",
          {{"reason", got.error().message}});
    } else if (!got && !damaged && !silent_) {
      log_.warn("the lock of rotation cannot be read or written: this host does not run rotations",
                {{"reason", got.error().message}});
    }
    if (got && silent_) log_.info("the lock of rotation can be read again");
    silent_ = !got;
    damaged_ = damaged;
    if (got && *got) co_return;
    const bool alert = loop_.now() < alert_until_;
    const Duration every = alert     ? options_.alert_every
                           : damaged ? std::min(kLookForRepair, options_.idle_every)
                                     : options_.idle_every;
    TimePoint until = loop_.now() + scaled(every, 0.8 + 0.4 * random_());
    // One that waits to be sure looks when the time has come.
    const TimePoint sure = seen_ + options_.take_over_after;
    if (alert && sure > loop_.now()) until = std::min(until, sure);
    co_await wake_.wait(until);
  }
}

Result<Head> RunLock::see(const BoardDocument& there) {
  auto head = parse_head(there.text);
  if (!head) return head;
  if (there.revision != revision_ || !(*head == head_)) {
    head_ = *head;
    revision_ = there.revision;
    seen_ = loop_.now();
  }
  return head;
}

// Whether this host is the holder now.
Task<Result<bool>> RunLock::look() {
  auto there = co_await board_.peek(kHeadName, loop_.now() + options_.call);
  if (!there) co_return fail(there.error());
  if (*there) {
    const std::string before = revision_;
    auto head = see(**there);
    if (!head) co_return fail(head.error());
    if (revision_ != before || loop_.now() < seen_ + options_.take_over_after) {
      // This daemon's own, of before it was silent for long: nobody has taken over.
      if (!is_mine(*head)) co_return false;
    }
  }
  // What was peeked may be old: only a strong read shows that it is so still.
  auto now = co_await board_.get(kHeadName, loop_.now() + options_.call);
  if (!now) co_return fail(now.error());
  if (!*now) {
    const auto epoch = co_await first_epoch();
    if (!epoch) co_return fail(epoch.error());
    co_return co_await take(std::nullopt, *epoch);
  }
  const std::string before = revision_;
  auto head = see(**now);
  if (!head) co_return fail(head.error());
  if (is_mine(*head)) co_return co_await take(*now, head->epoch);
  if (revision_ != before || loop_.now() < seen_ + options_.take_over_after) co_return false;
  co_return co_await take(*now, head->epoch + 1);
}

// After every one that there was.
Task<Result<uint64_t>> RunLock::first_epoch() {
  uint64_t last = 0;
  const auto there = co_await board_.get(kNowName, loop_.now() + options_.call);
  if (!there && there.error().code != Code::kCorrupt) co_return fail(there.error());
  if (there && *there) {
    if (const auto now = parse_run_now((*there)->text)) last = now->epoch;
  }
  const auto seen = co_await list_runs(board_, loop_.now() + options_.call);
  if (!seen) co_return fail(seen.error());
  for (const RunDocument& run : seen->runs) last = std::max(last, run.epoch);
  co_return last + 1;
}

Task<Result<bool>> RunLock::take(const std::optional<BoardDocument>& there, uint64_t epoch) {
  const Head before = head_;
  const Head mine{epoch, options_.host, options_.life, head_.beat + 1};
  const TimePoint sent = loop_.now();
  const TimePoint until = sent + options_.call;
  auto writing = there ? board_.replace(kHeadName, to_text(mine), there->revision, until)
                       : board_.put_if_absent(kHeadName, to_text(mine), until);
  auto written = co_await std::move(writing);
  if (!written) co_return fail(written.error());
  if (!written->now) co_return false;
  auto head = see(*written->now);
  if (!head) co_return fail(head.error());
  if (!written->done || !is_mine(*head) || head->epoch != epoch) co_return false;
  sent_ = sent;
  held_ = true;
  // One that it was itself before is not another that failed.
  if (there && before.epoch != epoch && before.holder != options_.host) {
    log_.warn("this host has taken over rotations from one that was silent",
              {{"from", before.holder}, {"epoch", epoch}});
  } else {
    log_.info("this host runs rotations now", {{"epoch", epoch}});
  }
  co_return true;
}

Task<bool> RunLock::hold() {
  TimePoint next = sent_ + options_.beat_every;
  for (;;) {
    if (loop_.now() < next) co_await loop_.sleep_until(std::min(next, sent_ + options_.act_for));
    if (!may_act()) {
      log_.warn("the lock of rotation could not be renewed: this host stops acting");
      co_return false;
    }
    const auto renewed = co_await beat();
    if (renewed && !*renewed) {
      log_.warn("another host runs rotations now", {{"holder", head_.holder}});
      co_return false;
    }
    next = renewed ? sent_ + options_.beat_every : loop_.now() + 1s;
  }
}

// False: it is another's.
Task<Result<bool>> RunLock::beat() {
  Head mine = head_;
  mine.holder = options_.host;  // by its name of now
  ++mine.beat;
  const TimePoint sent = loop_.now();
  const TimePoint until = std::min(sent + options_.call, sent_ + options_.act_for);
  auto written = co_await board_.replace(kHeadName, to_text(mine), revision_, until);
  if (!written) {
    // It may have taken effect: the next one needs the revision.
    auto there = co_await board_.get(kHeadName, until);
    if (!there) co_return fail(there.error());
    if (!*there) co_return false;
    auto head = see(**there);
    if (!head) co_return fail(head.error());
    if (!is_mine(*head) || head->epoch != mine.epoch) co_return false;
    co_return fail(written.error());
  }
  if (!written->now) co_return false;
  auto head = see(*written->now);
  if (!head) co_return fail(head.error());
  if (!is_mine(*head) || head->epoch != mine.epoch) co_return false;
  // Not done, and ours: an earlier one took effect late, and the next one will be sent at once.
  if (written->done) sent_ = sent;
  if (!written->done) co_return fail(Code::kUnavailable, "an earlier renewal took effect late");
  co_return true;
}

}  // namespace keyfs
