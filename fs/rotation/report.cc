#include "fs/rotation/report.h"

#include <algorithm>

namespace keyfs {

std::string_view to_string(RotatedKey::State state) {
  switch (state) {
    case RotatedKey::State::kWaiting:
      return "waiting";
    case RotatedKey::State::kCurrent:
      return "current";
    case RotatedKey::State::kOverdue:
      return "overdue";
    case RotatedKey::State::kRefused:
      break;
  }
  return "refused";
}

std::string_view to_string(ConsumerState state) {
  switch (state) {
    case ConsumerState::kWaiting:
      return "waiting";
    case ConsumerState::kRunning:
      return "running";
    case ConsumerState::kOk:
      return "ok";
    case ConsumerState::kFailed:
      return "failed";
    case ConsumerState::kNotTried:
      return "not tried";
    case ConsumerState::kGone:
      return "gone";
    case ConsumerState::kMarked:
      return "done";
    case ConsumerState::kUnknown:
      break;
  }
  return "unknown";
}

std::string_view to_string(NotifyState state) {
  switch (state) {
    case NotifyState::kNone:
      return "none";
    case NotifyState::kWaiting:
      return "waiting";
    case NotifyState::kSending:
      return "sending";
    case NotifyState::kSent:
      return "sent";
    case NotifyState::kFailed:
      break;
  }
  return "failed";
}

std::string_view RunSummary::word() const {
  switch (state) {
    case RunState::kWaiting:
      return "waiting";
    case RunState::kEnrolling:
      return "enrolling";
    case RunState::kRotating:
      return "rotating";
    case RunState::kTelling:
      return "telling";
    case RunState::kStopping:
      return "stopping";
    case RunState::kStopped:
      return "stopped";
    case RunState::kEnded:
      break;
  }
  return complete() ? "complete" : "in part";
}

ReportCounts RunReport::counts() const {
  ReportCounts counts;
  counts.consumers = consumers.size();
  for (const ConsumerReport& consumer : consumers) {
    switch (consumer.state) {
      case ConsumerState::kWaiting:
        ++counts.waiting;
        break;
      case ConsumerState::kRunning:
        ++counts.running;
        break;
      case ConsumerState::kOk:
        ++counts.ok;
        break;
      case ConsumerState::kFailed:
        ++counts.failed;
        break;
      case ConsumerState::kNotTried:
        ++counts.not_tried;
        break;
      case ConsumerState::kUnknown:
        ++counts.unknown;
        break;
      case ConsumerState::kGone:
        ++counts.gone;
        break;
      case ConsumerState::kMarked:
        ++counts.marked;
        break;
    }
  }
  counts.not_heard_from = not_heard_from.size() + not_heard_from_more;
  for (const RotatedKey& key : keys) {
    if (key.state != RotatedKey::State::kCurrent) {
      ++counts.keys_not_current;
    } else if (!key.missing.empty()) {
      ++counts.keys_with_gaps;
    }
  }
  return counts;
}

RunSummary RunReport::summary() const {
  RunSummary summary{run, state, {}, begun, ended, counts()};
  for (const RotatedKey& key : keys) summary.keys.push_back(key.id);
  return summary;
}

std::string safe_text(std::string_view text, size_t most) {
  const bool cut = text.size() > most;
  if (cut) {
    // Not in the middle of a character.
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
    text = text.substr(0, most);
  }
  std::string plain(text);
  for (char& c : plain) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return cut ? plain + "..." : plain;
}

}  // namespace keyfs
