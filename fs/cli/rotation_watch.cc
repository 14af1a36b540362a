#include "fs/cli/rotation_watch.h"

#include <algorithm>
#include <chrono>
#include <ostream>

#include "fs/cli/check_board.h"
#include "fs/rotation/documents.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMostName = 60;
constexpr size_t kMostReason = 200;

Task<void> pause(Loop& loop, Duration time) { co_await loop.sleep_for(time); }

// A report of many consumers is many documents to read.
Duration between_looks(const RunReport& report) {
  return std::min<Duration>(1s + report.consumers.size() * 2ms, 10s);
}

bool is_over(ConsumerState state) {
  return state != ConsumerState::kWaiting && state != ConsumerState::kRunning;
}

std::string where(const ConsumerReport& consumer) {
  return safe_text(consumer.consumer, kMostName) + " on " + safe_text(consumer.host, kMostName);
}

std::string line_of(const ConsumerReport& consumer) {
  std::string line = where(consumer) + ": " + std::string(to_string(consumer.state));
  if (!consumer.reason.empty()) line += ": " + safe_text(consumer.reason, kMostReason);
  return line;
}

// "waiting for web-1, web-2 and 3 more, up to 90s: 5 consumers up to now"
std::string waits_for_hosts(const RunReport& report) {
  constexpr size_t kMostHosts = 3;
  std::vector<std::string> some;
  for (size_t i = 0; i < report.not_heard_from.size() && i < kMostHosts; ++i) {
    some.push_back(safe_text(report.not_heard_from[i], kMostName));
  }
  const size_t others = report.not_heard_from.size() - some.size() + report.not_heard_from_more;
  return "waiting for " + joined_with_more(some, others) + ", up to " +
         std::to_string(std::chrono::floor<std::chrono::seconds>(kEnrolFor).count()) +
         " s: " + std::to_string(report.consumers.size()) +
         (report.consumers.size() == 1 ? " consumer" : " consumers") + " up to now";
}

// What the run does before and after it tells consumers; empty: that it does.
std::string stage_of(const RunReport& report) {
  switch (report.state) {
    case RunState::kWaiting:
      return kWaitsForAHost;
    case RunState::kRotating:
      // Those of `keyfs rotate` are there already, so that none may be made.
      return report.keys.size() == 1 ? "making sure that the new version of 1 key is current"
                                     : "making sure that the new versions of " +
                                           std::to_string(report.keys.size()) + " keys are current";
    case RunState::kEnrolling:
      if (!report.not_heard_from.empty()) return waits_for_hosts(report);
      return "hosts say which consumers they have: " + std::to_string(report.consumers.size()) +
             " up to now";
    case RunState::kStopping:
      return "stopping";
    case RunState::kTelling:
    case RunState::kEnded:
    case RunState::kStopped:
      break;
  }
  return "";
}

}  // namespace

std::string progress_bar(const RunReport& report, size_t columns) {
  constexpr size_t kMostBar = 40;
  const ReportCounts counts = report.counts();
  const std::string stage = stage_of(report);
  std::string text;
  if (!stage.empty()) {
    text = stage;
  } else {
    text = std::to_string(counts.settled()) + "/" + std::to_string(counts.consumers);
    const size_t failed = counts.failed + counts.unknown;
    if (failed != 0) text += ", " + std::to_string(failed) + " failed";
    for (const ConsumerReport& consumer : report.consumers) {
      if (consumer.state != ConsumerState::kRunning) continue;
      text += ": " + where(consumer);
      if (counts.running > 1) text += " and " + std::to_string(counts.running - 1) + " more";
      break;
    }
    const size_t width = std::min(kMostBar, columns / 3);
    if (width >= 5) {
      const size_t room = width - 2;
      const size_t full = counts.consumers == 0 ? room : room * counts.settled() / counts.consumers;
      std::string bar(full, '=');
      if (full < room) bar += ">";
      bar.resize(room, ' ');
      text = "[" + bar + "] " + text;
    }
  }
  // The last column is left free: some terminals go to the next line there. All but names is ASCII.
  return text.substr(0, columns > 0 ? columns - 1 : 0);
}

void RotationWatch::clear() {
  if (bar_) output_.out() << "\r\x1b[K" << std::flush;
  bar_ = false;
}

void RotationWatch::show_line(std::string line) {
  clear();
  output_.out() << line << '\n' << std::flush;
}

void RotationWatch::show_waiting(const HolderWatch& holder) {
  if (quiet_) return;
  std::string what = holder.waits_for();
  if (!parts_.columns) return show_stage(std::move(what));
  const size_t columns = *parts_.columns;
  output_.out() << '\r' << what.substr(0, columns > 0 ? columns - 1 : 0) << "\x1b[K" << std::flush;
  bar_ = true;
}

void RotationWatch::show_stage(std::string stage) {
  if (stage != stage_ && !stage.empty()) show_line(stage);
  stage_ = std::move(stage);
}

void RotationWatch::show(const RunReport& report) {
  if (quiet_) return;
  for (const ConsumerReport& consumer : report.consumers) {
    const auto place = std::pair(consumer.consumer, consumer.host);
    if (!is_over(consumer.state)) {
      told_.erase(place);  // a retry
      continue;
    }
    if (!told_.insert(place).second) continue;
    // On a terminal the bar counts those that are well.
    const bool well = consumer.state == ConsumerState::kOk ||
                      consumer.state == ConsumerState::kGone ||
                      consumer.state == ConsumerState::kMarked;
    if (!parts_.columns || !well) show_line(line_of(consumer));
  }
  if (parts_.columns) {
    output_.out() << '\r' << progress_bar(report, *parts_.columns) << "\x1b[K" << std::flush;
    bar_ = true;
    return;
  }
  // Without the numbers, which would be a line each time.
  const std::string stage = stage_of(report);
  show_stage(stage.substr(0, stage.find(": ")));
}

Result<void> HolderWatch::look() {
  const TimePoint now = parts_.loop.now();
  const auto holder = parts_.loop.run_task(parts_.runs.holder(now + parts_.patience));
  if (!holder && holder.error().code == Code::kCorrupt) {
    return fail(Code::kTimeout, damage_text(kHeadName));  // nobody takes over what is damaged
  }
  if (!holder) return {};
  if (*holder != last_) {
    last_ = *holder;
    since_ = now;
  }
  const Duration silent = now - since_;
  if (silent < (last_.host.empty() ? kNobody : parts_.holder_patience)) return {};
  return fail(Code::kTimeout,
              "no host runs rotations" +
                  (last_.host.empty()
                       ? std::string()
                       : " any more (the last was " + safe_text(last_.host, kMostName) + ")") +
                  ": consumers are told once keyfs is mounted on one, without run = no in "
                  "[rotation]; keyfs rotation list shows it then");
}

std::string HolderWatch::waits_for() const {
  const TimePoint now = parts_.loop.now();
  if (last_.host.empty() || now - since_ >= kActs) return kWaitsForAHost;
  const auto outlook = parts_.loop.run_task(parts_.runs.outlook(now + parts_.patience));
  if (!outlook) return kWaitsForAHost;
  if (outlook->under_way) return "waiting for the run before it to end";
  if (!outlook->settle || *outlook->settle == Duration::zero()) return kWaitsForAHost;
  return "collecting further changes until none comes for " + to_text(*outlook->settle) +
         " (settle), at most " + to_text(10 * *outlook->settle);
}

Result<std::optional<RunReport>> RotationWatch::next() {
  TimePoint answered = parts_.loop.now();
  HolderWatch holder(parts_);
  std::optional<std::string> before;
  for (;;) {
    const TimePoint deadline = parts_.loop.now() + parts_.patience;
    // The tickets first: one that is taken up meanwhile is found in the newest run.
    const auto waiting = parts_.loop.run_task(parts_.runs.waiting(deadline));
    auto report = parts_.loop.run_task(parts_.runs.report("", deadline));
    if (waiting && report) {
      answered = parts_.loop.now();
      const std::string newest = *report ? (*report)->run : "";
      const bool is_next = (*report && !(*report)->summary().has_ended()) ||
                           (before && newest != *before) || waiting->empty();
      if (is_next) {
        clear();
        return std::move(*report);
      }
      before = newest;
    } else if (parts_.loop.now() - answered >= kSilence || !before) {
      clear();
      Error why = (waiting ? report.error() : waiting.error()).within("could not read the run");
      if (why.code == Code::kTimeout) why.code = Code::kUnavailable;
      return fail(std::move(why));
    }
    if (auto somebody = holder.look(); !somebody) {
      clear();
      return fail(somebody.error());
    }
    show_waiting(holder);
    parts_.loop.run_task(pause(parts_.loop, 1s));
  }
}

Result<RunReport> RotationWatch::run(RunReport report) {
  HolderWatch holder(parts_);
  TimePoint answered = parts_.loop.now();
  // What was over before is no news.
  for (const ConsumerReport& consumer : report.consumers) {
    if (is_over(consumer.state)) told_.emplace(consumer.consumer, consumer.host);
  }
  while (!report.summary().has_ended()) {
    show(report);
    parts_.loop.run_task(pause(parts_.loop, between_looks(report)));
    auto now =
        parts_.loop.run_task(parts_.runs.report(report.run, parts_.loop.now() + parts_.patience));
    if (!now) {
      if (parts_.loop.now() - answered < kSilence) continue;
      clear();
      return fail(Code::kUnavailable,
                  "run " + safe_text(report.run, kMostName) +
                      " can't be followed any more, and may go on: " + now.error().message);
    }
    if (!*now) {
      clear();
      return fail(Code::kInvalid,
                  "run " + safe_text(report.run, kMostName) + " is not there any more");
    }
    answered = parts_.loop.now();
    report = std::move(**now);
    if (report.summary().has_ended()) break;
    if (auto somebody = holder.look(); !somebody) {
      clear();
      return fail(somebody.error().within("run " + safe_text(report.run, kMostName)));
    }
  }
  show(report);
  clear();
  return report;
}

}  // namespace keyfs
