#include "fs/cli/rotation_beside.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fs/cli/check_board.h"
#include "fs/rotation/documents.h"

namespace keyfs {
namespace {

constexpr size_t kMostName = 60;
constexpr size_t kMostNamed = 5;

// Its tickets stay until their keys are rotated.
bool has_taken(const RunReport& run, const std::string& id) {
  return run.state == RunState::kRotating &&
         std::any_of(run.keys.begin(), run.keys.end(),
                     [&](const auto& key) { return key.id == id; });
}

}  // namespace

BesideRun::BesideRun(const RunReport* newest, const RotationDesk& parts) {
  const TimePoint deadline = parts.loop.now() + parts.patience;
  auto waiting = parts.loop.run_task(parts.runs.waiting(deadline));
  if (!waiting) {
    error_ = waiting.error().within("whether another run was asked for could not be read");
    return;
  }
  for (std::string& id : *waiting) {
    if (newest != nullptr && has_taken(*newest, id)) continue;
    if (parts.permitted({id}, nullptr)) waiting_.push_back(std::move(id));
  }
  auto page = parts.loop.run_task(parts.runs.list("", 1, deadline));
  if (!page) {
    error_ = page.error().within("whether there is a newer run could not be read");
    return;
  }
  for (std::string& run : page->damaged) {
    if (is_run(run) && (newest == nullptr || run > newest->run)) damaged_.push_back(std::move(run));
  }
  if (!waiting_.empty()) find_when(parts);
}

void BesideRun::find_when(const RotationDesk& parts) {
  const TimePoint deadline = parts.loop.now() + parts.patience;
  const auto holder = parts.loop.run_task(parts.runs.holder(deadline));
  lock_damaged_ = !holder && holder.error().code == Code::kCorrupt;
  if (lock_damaged_) return;
  if (holder && holder->host.empty()) {
    when_ = "once keyfs is mounted on a host that runs rotations";
    return;
  }
  const auto outlook = parts.loop.run_task(parts.runs.outlook(deadline));
  if (outlook && outlook->under_way) {
    when_ = "once the run before it has ended";
  } else if (outlook && outlook->settle && *outlook->settle > Duration::zero()) {
    when_ = "once no further change has come for " + to_text(*outlook->settle) +
            " (settle), after " + to_text(10 * *outlook->settle) + " at most";
  } else {
    when_ = "once a host takes it up";
  }
}

std::string BesideRun::text() const {
  if (waiting_.empty()) return "";
  std::vector<std::string> some;
  for (size_t i = 0; i < waiting_.size() && i < kMostNamed; ++i) {
    some.push_back(safe_text(waiting_[i], kMostName));
  }
  return "another run was asked for (" + joined_with_more(some, waiting_.size() - some.size()) +
         ")" + (when_.empty() ? "" : ", and begins " + when_) + "\n";
}

void BesideRun::add_to(nlohmann::ordered_json& document) const {
  document["waiting"] = waiting_;
  document["damaged"] = damaged_;
}

ExitCode BesideRun::tell(ExitCode code, Output& output) const {
  if (lock_damaged_) output.error(damage_text(kHeadName));
  if (error_) output.error(error_->message);
  if (!damaged_.empty()) {
    std::vector<std::string> names;
    for (const std::string& run : damaged_) names.push_back(safe_text(run, kMostName));
    output.error("newer, damaged on the board, and not shown: " + joined(names) +
                 " (\"Repair of the board\" in keyfs(1) tells what to do)");
  }
  const bool trouble = lock_damaged_ || error_ || !damaged_.empty();
  return trouble && code == ExitCode::kDone ? ExitCode::kPartial : code;
}

}  // namespace keyfs
