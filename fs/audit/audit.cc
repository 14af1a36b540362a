#include "fs/audit/audit.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread.h"
#include "fs/audit/audit_line.h"
#include "fs/audit/audit_ring.h"

namespace keyfs {
namespace {

constexpr size_t kBatch = 256;  // lines to one write
// How long the writer pauses while refusals are being counted; their lines are due later.
constexpr Duration kCountingPause = std::chrono::milliseconds(50);
constexpr Duration kTryAgain = std::chrono::seconds(1);

}  // namespace

std::string_view to_string(AuditVerdict verdict) {
  switch (verdict) {
    case AuditVerdict::kAllowed:
      return "allowed";
    case AuditVerdict::kDenied:
      return "denied";
    case AuditVerdict::kAbsent:
      return "absent";
    case AuditVerdict::kFailed:
      return "failed";
  }
  return "failed";
}

struct Audit::Impl {
  Impl(std::unique_ptr<AuditSink> to, Log& operators_log, const Clock& the_clock,
       Options the_options)
      : sink(std::move(to)),
        log(operators_log),
        clock(the_clock),
        options(the_options),
        ring(the_options.ring),
        refusals(the_options.refusals) {}

  bool keep(AuditEvent&& event);
  void wake();
  void hurry();

  void run();
  void linger();
  bool write_batch(bool all);
  void take_refusals(bool all);
  uint64_t tell_losses();
  void hand_over(size_t count, uint64_t telling);
  size_t write_lines(size_t count, uint64_t telling);
  void try_again();
  void answer_flush();
  bool sleep(bool for_long);

  const std::unique_ptr<AuditSink> sink;
  Log& log;
  const Clock& clock;
  const Options options;
  AuditRing<AuditEvent> ring;
  Refusals refusals;

  // The writer sets `asleep` before its last check for work, and a producer checks `asleep` after
  // adding work: one of the two sees the other.
  std::atomic<bool> asleep{false};
  std::mutex sleep_mutex;
  std::condition_variable woken;
  bool urgent = false;  // guarded by sleep_mutex: somebody waits for a receipt
  std::atomic<bool> stop{false};
  std::atomic<bool> reopen_wanted{false};
  std::atomic<uint64_t> flush_wanted{0};
  std::atomic<uint64_t> flushed{0};
  std::atomic<bool> failing{false};  // whether the last write to the sink failed
  std::atomic<uint64_t> lines{0};
  std::atomic<uint64_t> lost{0};

  // The writer's own.
  using Receipt = std::shared_ptr<const std::function<void(bool)>>;
  std::vector<std::pair<size_t, Receipt>> receipts;  // of the batch's so-many-th line
  std::string lines_now;                             // the batch in the making
  std::vector<AuditEvent> refused;  // that are to be written, from `refused_next` on
  size_t refused_next = 0;
  uint64_t handled = 0;  // taken out of the ring
  uint64_t flush_begun = 0;
  uint64_t flush_goal = 0;
  uint64_t lost_told = 0;  // how many of `lost` a line has reported
  TimePoint try_again_at{};
  std::string last_reason;
  bool told_failing = false;  // the log says that lines can't be written

  mutable std::mutex error_mutex;
  std::string last_error;  // guarded

  std::thread writer;
};

Audit::Audit(std::unique_ptr<AuditSink> sink, Log& log, const Clock& clock, Options options)
    : impl_(std::make_unique<Impl>(std::move(sink), log, clock, options)) {
  if (impl_->sink == nullptr) return;
  impl_->writer = start_thread("keyfs-audit", [this] { impl_->run(); });
}

Audit::~Audit() {
  if (!impl_->writer.joinable()) return;
  impl_->stop = true;
  impl_->wake();
  impl_->writer.join();
}

bool Audit::enabled() const { return impl_->sink != nullptr; }

bool Audit::required() const { return enabled() && impl_->options.required; }

bool Audit::write(AuditEvent&& event) {
  Impl& impl = *impl_;
  if (impl.sink == nullptr) return true;
  const bool awaited = event.receipt != nullptr;
  if (!impl.keep(std::move(event))) return false;
  if (awaited) impl.hurry();
  if (impl.asleep.load(std::memory_order_seq_cst)) impl.wake();
  return true;
}

bool Audit::Impl::keep(AuditEvent&& event) {
  if (!event.of_a_key()) {
    event.after = ring.pushed();
    refusals.add(std::move(event), clock.now());
    return true;
  }
  const bool needed = options.required && event.comes_first();
  if (needed && failing.load(std::memory_order_acquire)) return false;
  if (ring.push(event)) return true;
  if (needed) return false;
  lost.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void Audit::reopen() {
  if (impl_->sink == nullptr) return;
  impl_->reopen_wanted = true;
  impl_->wake();
}

void Audit::flush() {
  Impl& impl = *impl_;
  if (impl.sink == nullptr) return;
  const uint64_t mine = impl.flush_wanted.fetch_add(1) + 1;
  impl.wake();
  for (uint64_t now = impl.flushed.load(); now < mine; now = impl.flushed.load()) {
    impl.flushed.wait(now);
  }
}

Audit::Status Audit::status() const {
  std::lock_guard lock(impl_->error_mutex);
  return {impl_->lines.load(), impl_->lost.load(), impl_->options.required, impl_->last_error};
}

void Audit::Impl::wake() {
  // Only the first of several pays for the system call.
  if (!asleep.exchange(false)) return;
  { std::lock_guard lock(sleep_mutex); }  // it is waiting now, or sees that it need not
  woken.notify_one();
}

// With `required` it does not linger.
void Audit::Impl::hurry() {
  if (options.required) return;
  {
    std::lock_guard lock(sleep_mutex);
    urgent = true;
  }
  woken.notify_one();
}

void Audit::Impl::linger() {
  std::unique_lock lock(sleep_mutex);
  woken.wait_for(lock, options.linger, [this] { return urgent; });
  urgent = false;
}

void Audit::Impl::run() {
  Duration idle{};
  for (;;) {
    const bool stopping = stop.load();
    if (flush_begun == flushed) {  // started before what it must wait for
      flush_begun = flush_wanted;
      flush_goal = ring.pushed();
    }
    if (reopen_wanted.exchange(false)) {
      if (auto ok = sink->reopen(); !ok) {
        log.error("the audit log could not be reopened; lines go to the old file",
                  {{"reason", ok.error().message}});
      }
    }
    const bool busy = write_batch(stopping);
    answer_flush();
    if (busy) {
      idle = Duration::zero();
      continue;
    }
    if (stopping) return;
    try_again();
    if (idle < options.idle_after && !options.required) {
      linger();
      idle += options.linger;
    } else if (sleep(!refusals.counting() && !failing)) {
      idle = Duration::zero();
    }
  }
}

// Waits until there is something to do, which it returns, or only for a pause, unless for long.
bool Audit::Impl::sleep(bool for_long) {
  std::unique_lock lock(sleep_mutex);
  asleep.store(true, std::memory_order_seq_cst);
  if (handled != ring.pushed() || (refusals.waiting() && !failing) || stop || reopen_wanted ||
      flush_wanted != flushed) {
    asleep = false;
    return true;
  }
  const auto is_woken = [this] { return !asleep.load(); };
  if (for_long) {
    woken.wait(lock, is_woken);
  } else {
    woken.wait_for(lock, kCountingPause, is_woken);
  }
  return !asleep.exchange(false);
}

void Audit::Impl::answer_flush() {
  if (flush_begun == flushed || handled < flush_goal || refused_next < refused.size()) return;
  if (refusals.waiting() && !failing) return;
  flushed = flush_begun;
  flushed.notify_all();
}

// While the sink fails they are safer in their table.
void Audit::Impl::take_refusals(bool all) {
  if (refused_next < refused.size()) return;
  refused.clear();
  refused_next = 0;
  if (failing && !all) return;
  if (refusals.waiting() || refusals.counting()) refusals.take(refused, clock.now(), all);
}

bool Audit::Impl::write_batch(bool all) {
  lines_now.clear();
  take_refusals(all);
  const uint64_t telling = tell_losses();
  size_t count = 0;
  for (; count < kBatch; ++count) {
    const AuditEvent* first = ring.front();
    const bool refusal_first = refused_next < refused.size() &&
                               (first == nullptr || refused[refused_next].after <= handled);
    if (refusal_first) {
      append_audit_line(lines_now, refused[refused_next]);
      refused[refused_next++] = AuditEvent();
    } else if (first != nullptr) {
      append_audit_line(lines_now, *first);
      if (auto event = ring.pop(); event->receipt) {
        receipts.emplace_back(count, std::move(event->receipt));
      }
      ++handled;
    } else {
      break;
    }
  }
  if (count == 0) return false;
  hand_over(count, telling);
  return true;
}

// Readers of the audit must know that lines are missing: how many lost lines the batch reports.
uint64_t Audit::Impl::tell_losses() {
  const uint64_t all = lost.load();
  if (all == lost_told) return all;
  if (last_reason.empty()) last_reason = "opens came faster than lines could be written";
  append_lost_line(lines_now, clock.wall(), all - lost_told, last_reason);
  return all;
}

void Audit::Impl::hand_over(size_t count, uint64_t telling) {
  const size_t kept = write_lines(count, telling);
  for (const auto& [line, receipt] : receipts) (*receipt)(line < kept);
  receipts.clear();
}

// How many lines of the batch were written, from its first on.
size_t Audit::Impl::write_lines(size_t count, uint64_t telling) {
  auto written = sink->write(lines_now);
  if (written.elsewhere) {
    log.warn(
        "the audit's file was removed or replaced, or its file system unmounted: lines go to the "
        "file that is under its name now");
  }
  const uint64_t untold = telling - lost_told;
  const size_t head = untold > 0 ? 1 : 0;  // the line that reports losses
  const size_t kept = written.lines - std::min(head, written.lines);
  if (written.lines >= head && untold > 0) {
    log.warn("audit lines were lost", {{"lines", untold}, {"reason", last_reason}});
    lost_told = telling;  // not all of `lost`: more may have gone since
  }
  lines.fetch_add(kept, std::memory_order_relaxed);
  // A key that is not handed out for want of its line has lost none: its refusal is told.
  const auto is_refused = [&](const auto& one) { return options.required && one.first >= kept; };
  const auto refused_now = std::count_if(receipts.begin(), receipts.end(), is_refused);
  lost.fetch_add(count - kept - static_cast<size_t>(refused_now), std::memory_order_relaxed);
  // An empty batch (try_again()) writes nothing, and proves nothing.
  if (!written.error && written.lines > 0 && told_failing) {
    told_failing = false;
    log.warn(options.required ? "audit lines can be written again, so keys are handed out again"
                              : "audit lines can be written again");
  }
  std::lock_guard lock(error_mutex);
  if (!written.error) {
    failing.store(false, std::memory_order_release);
    last_reason.clear();
    last_error.clear();
    return kept;
  }
  failing.store(true, std::memory_order_release);
  try_again_at = clock.now() + kTryAgain;
  last_reason = last_error = written.error->message;
  if (count == 0) return kept;
  told_failing = true;
  log.error(options.required
                ? "audit lines can't be written, so keys are not handed out (audit_required)"
                : "audit lines are being lost; keys are still served",
            {{"reason", written.error->message}});
  return kept;
}

// A failing sink gets the line about losses repeatedly: once it accepts it, it works again.
void Audit::Impl::try_again() {
  if (!failing || clock.now() < try_again_at) return;
  lines_now.clear();
  hand_over(0, tell_losses());
}

}  // namespace keyfs
