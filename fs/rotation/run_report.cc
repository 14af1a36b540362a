#include "fs/rotation/run_report.h"

#include <map>
#include <string_view>
#include <utility>

namespace keyfs {
namespace {

RunState state_of(const RunDocument& run, bool waits) {
  if (waits && run.state == RunDocument::State::kEnded) return RunState::kWaiting;
  switch (run.state) {
    case RunDocument::State::kRotating:
      return RunState::kRotating;
    case RunDocument::State::kEnrolling:
      return RunState::kEnrolling;
    case RunDocument::State::kTelling:
      return RunState::kTelling;
    case RunDocument::State::kStopping:
      return RunState::kStopping;
    case RunDocument::State::kEnded:
      break;
  }
  return run.end == RunDocument::End::kStopped ? RunState::kStopped : RunState::kEnded;
}

ConsumerState state_of(RowState state) {
  switch (state) {
    case RowState::kWaiting:
      return ConsumerState::kWaiting;
    case RowState::kOrdered:
    case RowState::kStarted:
      return ConsumerState::kRunning;
    case RowState::kOk:
      return ConsumerState::kOk;
    case RowState::kGone:
      return ConsumerState::kGone;
    case RowState::kFailed:
      return ConsumerState::kFailed;
    case RowState::kNotTried:
      return ConsumerState::kNotTried;
    case RowState::kDone:
      return ConsumerState::kMarked;
    case RowState::kUnknown:
      break;
  }
  return ConsumerState::kUnknown;
}

NotifyState state_of(RunDocument::Notice notice) {
  switch (notice) {
    case RunDocument::Notice::kNone:
      return NotifyState::kNone;
    case RunDocument::Notice::kSending:
      return NotifyState::kSending;
    case RunDocument::Notice::kSent:
      return NotifyState::kSent;
    case RunDocument::Notice::kFailed:
      break;
  }
  return NotifyState::kFailed;
}

ConsumerReport consumer_of(const RunDocument& run, const Sheet& sheet, const Row& row) {
  ConsumerReport consumer;
  consumer.consumer = row.consumer;
  consumer.host = sheet.host;
  consumer.state = state_of(row.state);
  consumer.reason = row.why;
  // One each, also of a sheet that names a key more than once.
  std::map<std::string_view, size_t> last;
  for (const uint32_t place : row.keys) {
    if (place < run.keys.size()) last[run.keys[place].id] = place;
  }
  for (const uint32_t place : row.keys) {
    if (place >= run.keys.size() || last[run.keys[place].id] != place) continue;
    const RunKey& key = run.keys[place];
    consumer.keys.push_back(key.id + "/" + std::to_string(key.current));
  }
  consumer.begun = from_rfc3339(row.begun);
  consumer.ended = from_rfc3339(row.ended);
  return consumer;
}

}  // namespace

RotatedKey::State state_of(RunKey::State state) {
  switch (state) {
    case RunKey::State::kWaiting:
      return RotatedKey::State::kWaiting;
    case RunKey::State::kCurrent:
      return RotatedKey::State::kCurrent;
    case RunKey::State::kOverdue:
      return RotatedKey::State::kOverdue;
    case RunKey::State::kRefused:
      break;
  }
  return RotatedKey::State::kRefused;
}

RunReport report_of(const RunDocument& run, const Sheets& sheets, bool waits) {
  RunReport report;
  report.run = run.run;
  report.epoch = run.epoch;
  report.holder = run.holder;
  report.state = state_of(run, waits);
  report.stopped = run.stop_why;
  report.begun = from_rfc3339(run.begun);
  report.ended = from_rfc3339(run.ended);
  for (const RunKey& key : keys_told(run.keys)) {
    report.keys.push_back(
        {key.id, state_of(key.state), key.current, key.before, key.missing, key.why});
  }
  for (const auto& [name, seen] : sheets) {
    for (const Row& row : seen.sheet.rows) {
      report.consumers.push_back(consumer_of(run, seen.sheet, row));
    }
  }
  report.not_heard_from = run.unheard;
  report.not_heard_from_more = run.unheard_more;
  report.takeovers = run.takeovers;
  report.notify = state_of(run.notice);
  if (run.notice == RunDocument::Notice::kFailed) report.notify_reason = run.notice_why;
  return report;
}

RunSummary summary_of(const RunDocument& run, bool waits) {
  RunSummary summary = report_of(run, {}, waits).summary();
  summary.counts.consumers = run.counts.total;
  summary.counts.waiting = run.counts.waiting;
  summary.counts.running = run.counts.active;
  summary.counts.ok = run.counts.ok;
  summary.counts.failed = run.counts.failed;
  summary.counts.not_tried = run.counts.not_tried;
  summary.counts.unknown = run.counts.unknown;
  summary.counts.gone = run.counts.gone;
  summary.counts.marked = run.counts.done;
  return summary;
}

}  // namespace keyfs
