#include "fs/audit/audit.h"

#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/thread.h"
#include "fs/audit/audit_line.h"
#include "fs/audit/audit_ring.h"

namespace keyfs {
namespace {

constexpr size_t kBatch = 256;  // lines to one write

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
        ring(the_options.ring) {}

  void run();
  bool write_batch();
  void hand_over(size_t count, uint64_t telling);
  void wait();
  void wake();

  const std::unique_ptr<AuditSink> sink;
  Log& log;
  const Clock& clock;
  const Options options;
  AuditRing<AuditEvent> ring;

  // The writer sets `asleep` before it looks at the ring for the last time, and whoever pushes
  // looks at `asleep` afterwards: one of the two sees the other.
  std::atomic<bool> asleep{false};
  std::atomic<bool> stop{false};
  std::atomic<bool> reopen_wanted{false};
  std::atomic<uint64_t> handled{0};  // written, or lost at the sink
  std::atomic<uint64_t> lines{0};
  std::atomic<uint64_t> lost{0};

  std::string lines_now;   // the writer's own: the batch in the making
  uint64_t lost_told = 0;  // the writer's own: how many of `lost` a line has told of
  std::string last_reason;
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

void Audit::write(AuditEvent event) {
  Impl& impl = *impl_;
  if (impl.sink == nullptr) return;
  if (!impl.ring.push(event)) {
    impl.lost.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (impl.asleep.load(std::memory_order_seq_cst)) impl.wake();
}

void Audit::reopen() {
  if (impl_->sink == nullptr) return;
  impl_->reopen_wanted = true;
  impl_->wake();
}

void Audit::flush() {
  Impl& impl = *impl_;
  if (impl.sink == nullptr) return;
  const uint64_t goal = impl.ring.pushed();
  impl.wake();
  for (uint64_t now = impl.handled.load(); now < goal; now = impl.handled.load()) {
    impl.handled.wait(now);
  }
}

Audit::Status Audit::status() const {
  std::lock_guard lock(impl_->error_mutex);
  return {impl_->lines.load(), impl_->lost.load(), impl_->last_error};
}

void Audit::Impl::wake() {
  // Only the first of several pays for the system call.
  if (asleep.exchange(false)) asleep.notify_one();
}

void Audit::Impl::run() {
  Duration idle{};
  for (;;) {
    const bool stopping = stop.load();
    if (reopen_wanted.exchange(false)) {
      if (auto ok = sink->reopen(); !ok) {
        log.error("the audit log could not be opened anew; lines go to the old one",
                  {{"reason", ok.error().message}});
      }
    }
    if (write_batch()) {
      idle = Duration::zero();
      continue;
    }
    if (stopping) return;
    if (idle >= options.idle_after) {
      wait();
      idle = Duration::zero();
    } else {
      std::this_thread::sleep_for(options.linger);
      idle += options.linger;
    }
  }
}

void Audit::Impl::wait() {
  asleep.store(true, std::memory_order_seq_cst);
  if (handled.load(std::memory_order_seq_cst) != ring.pushed() || stop ||
      reopen_wanted) {
    asleep = false;
    return;
  }
  asleep.wait(true);
}

bool Audit::Impl::write_batch() {
  lines_now.clear();
  size_t count = 0;
  uint64_t telling = lost_told;  // of all that was lost, how much these lines tell of
  while (count < kBatch) {
    auto event = ring.pop();
    if (!event) break;
    if (count == 0) {
      // Room is made by losing whole lines; whoever reads the log must know that they are missing.
      if (const uint64_t all = lost.load(); all != lost_told) {
        if (last_reason.empty()) last_reason = "more opens than could be written";
        append_lost_line(lines_now, clock.wall(), all - lost_told, last_reason);
        telling = all;
        // Told only if it gets through.
        log.warn("audit lines were lost", {{"lines", all - lost_told}, {"reason", last_reason}});
      }
    }
    append_audit_line(lines_now, *event);
    ++count;
  }
  if (count == 0) return false;
  hand_over(count, telling);
  handled.fetch_add(count, std::memory_order_seq_cst);
  handled.notify_all();
  return true;
}

void Audit::Impl::hand_over(size_t count, uint64_t telling) {
  auto written = sink->write(lines_now, count);
  std::lock_guard lock(error_mutex);
  if (written) {
    lines.fetch_add(count, std::memory_order_relaxed);
    lost_told = telling;  // not all of `lost`: more may have gone since
    last_reason.clear();
    last_error.clear();
    return;
  }
  lost.fetch_add(count, std::memory_order_relaxed);
  last_reason = last_error = written.error().message;
  log.error("audit lines are being lost; keys are served all the same",
            {{"reason", written.error().message}});
}

}  // namespace keyfs
