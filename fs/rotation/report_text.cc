#include <algorithm>
#include <array>
#include <utility>

#include "fs/rotation/report.h"

namespace keyfs {
namespace {

constexpr size_t kMostName = 255;
constexpr size_t kMostReason = 1000;

std::string name(std::string_view text) { return safe_text(text, kMostName); }
std::string reason(std::string_view text) { return safe_text(text, kMostReason); }

std::string took(const std::optional<WallTime>& begun, const std::optional<WallTime>& ended) {
  if (!begun || !ended || *ended < *begun) return "";
  // Hosts' clocks, to the second.
  return to_text(std::chrono::floor<std::chrono::seconds>(*ended - *begun));
}

void add_words(std::string& text, std::string_view between, std::string_view words) {
  if (!text.empty() && !words.empty()) text += between;
  text += words;
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) add_words(text, ", ", name(word));
  return text;
}

// Columns as wide as their widest cell; nothing follows the last one that is not empty.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i] + std::string(widths[i] - row[i].size() + 2, ' ');
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string note_of(const RotatedKey& key) {
  std::string note;
  if (key.state == RotatedKey::State::kOverdue) note = "is tried again";
  if (!key.missing.empty()) note = "missing in " + listed(key.missing);
  // It begins with the first region that is missing: one alone is named already.
  std::string_view why = key.reason;
  if (key.missing.size() == 1 && why.starts_with(key.missing.front() + ": ")) {
    why.remove_prefix(key.missing.front().size() + 2);
  }
  add_words(note, ": ", reason(why));
  return note;
}

std::string table_of_keys(const std::vector<RotatedKey>& keys) {
  std::vector<std::vector<std::string>> rows = {{"KEY", "VERSION", "BEFORE", "STATE", "NOTE"}};
  const auto number = [](uint32_t version) {
    return version == 0 ? std::string("-") : std::to_string(version);
  };
  bool notes = false;
  for (const RotatedKey& key : keys) {
    rows.push_back({name(key.id), number(key.version), number(key.before),
                    std::string(to_string(key.state)), note_of(key)});
    notes = notes || !rows.back().back().empty();
  }
  if (!notes) rows.front().pop_back();
  return table(rows);
}

// What the reader has to do something about comes first, then what goes on, then the rest.
int rank_of(ConsumerState state) {
  switch (state) {
    case ConsumerState::kFailed:
      return 0;
    case ConsumerState::kUnknown:
      return 1;
    case ConsumerState::kNotTried:
      return 2;
    case ConsumerState::kRunning:
      return 3;
    case ConsumerState::kWaiting:
      return 4;
    case ConsumerState::kMarked:
      return 5;
    case ConsumerState::kGone:
      return 6;
    case ConsumerState::kOk:
      break;
  }
  return 7;
}
constexpr int kNothingToDo = 5;  // from this rank on

std::string table_of_consumers(const RunReport& report, const ReportParts& parts) {
  std::vector<const ConsumerReport*> shown;
  for (const ConsumerReport& consumer : report.consumers) {
    const bool wanted = parts.every_consumer || rank_of(consumer.state) < kNothingToDo;
    if (wanted) shown.push_back(&consumer);
  }
  if (shown.empty()) return "";
  std::stable_sort(shown.begin(), shown.end(), [](const auto* a, const auto* b) {
    return rank_of(a->state) < rank_of(b->state);
  });
  std::vector<std::vector<std::string>> rows = {{"CONSUMER", "HOST", "STATE", "TOOK", "REASON"}};
  for (const ConsumerReport* consumer : shown) {
    const std::string time = took(consumer->begun, consumer->ended);
    rows.push_back({name(consumer->consumer), name(consumer->host),
                    std::string(to_string(consumer->state)), time.empty() ? "-" : time,
                    reason(consumer->reason)});
  }
  return table(rows);
}

std::string times_of(const RunReport& report) {
  std::string text;
  if (report.begun) text += "begun " + to_rfc3339(*report.begun);
  if (report.ended) add_words(text, ", ", "ended " + to_rfc3339(*report.ended));
  const std::string time = took(report.begun, report.ended);
  if (!time.empty()) text += " (" + time + ")";
  if (!report.holder.empty()) {
    add_words(text, ", ",
              "by " + name(report.holder) + " (epoch " + std::to_string(report.epoch) + ")");
  }
  return text.empty() ? "" : text + "\n";
}

}  // namespace

std::string to_text(const ReportCounts& counts) {
  const std::array<std::pair<size_t, std::string_view>, 8> parts = {{
      {counts.ok, "ok"},
      {counts.failed, "failed"},
      {counts.unknown, "unknown"},
      {counts.not_tried, "not tried"},
      {counts.gone, "gone"},
      {counts.marked, "done by hand"},
      {counts.running, "running"},
      {counts.waiting, "waiting"},
  }};
  std::string text;
  for (const auto& [count, word] : parts) {
    if (count != 0) add_words(text, ", ", std::to_string(count) + " " + std::string(word));
  }
  const std::string all =
      std::to_string(counts.consumers) + (counts.consumers == 1 ? " consumer" : " consumers");
  text = counts.consumers == 0 ? "no consumers" : text + " of " + all;
  if (counts.not_heard_from != 0) {
    text += ", " + std::to_string(counts.not_heard_from) +
            (counts.not_heard_from == 1 ? " host" : " hosts") + " not heard from";
  }
  if (counts.keys_not_current != 0) {
    text += ", " + std::to_string(counts.keys_not_current) +
            (counts.keys_not_current == 1 ? " key" : " keys") + " not rotated";
  }
  if (counts.keys_with_gaps != 0) {
    text += ", " + std::to_string(counts.keys_with_gaps) +
            (counts.keys_with_gaps == 1 ? " key" : " keys") + " not in every region";
  }
  return text;
}

std::string to_text(const RunReport& report, const ReportParts& parts) {
  const RunSummary summary = report.summary();
  std::string text = "run " + name(report.run) + ": " + std::string(summary.word()) + ", " +
                     to_text(summary.counts) + "\n" + times_of(report);
  if (!report.stopped.empty()) text += "stopped: " + reason(report.stopped) + "\n";
  if (!report.takeovers.empty()) text += "taken over: " + listed(report.takeovers) + "\n";
  if (!report.keys.empty()) text += "\n" + table_of_keys(report.keys);
  const std::string consumers = table_of_consumers(report, parts);
  if (!consumers.empty()) text += "\n" + consumers;
  if (!report.not_heard_from.empty()) {
    const bool waits = report.state == RunState::kEnrolling;
    text += (waits ? "\nwaiting for: " : "\nnot heard from: ") + listed(report.not_heard_from);
    if (report.not_heard_from_more != 0) {
      text += " and " + std::to_string(report.not_heard_from_more) + " more";
    }
    text += "\n";
  }
  if (report.notify != NotifyState::kNone) {
    text += "\nnotify: " + std::string(to_string(report.notify));
    if (!report.notify_reason.empty()) text += " (" + reason(report.notify_reason) + ")";
    if (report.notify == NotifyState::kSending) {
      text += " (whether it arrives is told later: keyfs rotation show " + name(report.run) + ")";
    }
    text += "\n";
  }
  return text;
}

}  // namespace keyfs
