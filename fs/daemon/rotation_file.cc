#include "fs/daemon/rotation_file.h"

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace keyfs {
namespace {

constexpr size_t kMaxKeysNamed = 10;

class RotationFile final : public VirtualFile {
 public:
  RotationFile(std::function<RotationStatus()> status,
               std::function<std::vector<SeenConsumer>()> consumers)
      : status_(std::move(status)), consumers_(std::move(consumers)) {}
  std::string_view name() const override { return "rotation"; }
  std::string render() override {
    using Json = nlohmann::ordered_json;
    return to_json(status_(), consumers_()).dump(2, ' ', false, Json::error_handler_t::replace) +
           "\n";
  }

 private:
  const std::function<RotationStatus()> status_;
  const std::function<std::vector<SeenConsumer>()> consumers_;
};

template <class Key>
uint64_t at(const std::map<Key, uint64_t>& counts, Key key) {
  const auto found = counts.find(key);
  return found == counts.end() ? 0 : found->second;
}

Counter& runs(Metrics& metrics, const char* end) {
  return metrics.counter("keyfs_rotation_runs_total", "Rotations that this host has ended.",
                         {{"end", end}});
}

Counter& told(Metrics& metrics, const char* outcome) {
  return metrics.counter("keyfs_rotation_consumers_total",
                         "Consumers on this host that were told of new keys, by outcome.",
                         {{"outcome", outcome}});
}

}  // namespace

std::unique_ptr<VirtualFile> make_rotation_file(
    std::function<RotationStatus()> status, std::function<std::vector<SeenConsumer>()> consumers) {
  return std::make_unique<RotationFile>(std::move(status), std::move(consumers));
}

RotationBrief rotation_brief(const RotationStatus& status) {
  RotationBrief brief;
  brief.board = to_string(status.board.state);
  brief.board_reason = status.board.why;
  for (const auto& [name, since] : status.board.damaged) brief.damaged.push_back(name);
  brief.holder = status.holder;
  brief.is_holder = status.is_holder;
  if (status.run) brief.run = status.run->run;
  brief.overdue = status.overdue;
  brief.troubles = status.troubles;
  if (!status.overdue_tickets) return brief;
  for (const Ticket& ticket : *status.overdue_tickets) {
    if (brief.overdue_keys.size() == kMaxKeysNamed) break;
    if (brief.overdue_keys.empty()) brief.overdue_reason = ticket.overdue_why;
    brief.overdue_keys.push_back(ticket.id);
  }
  return brief;
}

RotationMetrics::RotationMetrics(Metrics& metrics)
    : complete_(runs(metrics, "complete")),
      in_part_(runs(metrics, "in_part")),
      stopped_(runs(metrics, "stopped")),
      ok_(told(metrics, "ok")),
      gone_(told(metrics, "gone")),
      failed_(told(metrics, "failed")),
      hooks_(metrics.counter("keyfs_rotation_hooks_total", "Hooks begun on this host.")),
      board_errors_(metrics.counter("keyfs_rotation_board_errors_total",
                                    "Calls of the store's board that failed.")),
      missed_(metrics.counter("keyfs_rotation_openings_missed_total",
                              "Openings of keys that could not be taken note of, so that their "
                              "consumers may not be known.")),
      overdue_(metrics.gauge("keyfs_rotation_overdue_keys",
                             "Keys that should have been rotated and could not be yet.")),
      is_holder_(metrics.gauge("keyfs_rotation_is_holder",
                               "Whether this host runs rotations for all hosts now.")),
      board_there_(metrics.gauge("keyfs_rotation_board_up",
                                 "Whether the store's board answered when it was last asked.")),
      board_damaged_(metrics.gauge("keyfs_rotation_board_damaged_documents",
                                   "Documents on the store's board that rotation needs and that "
                                   "are damaged.")),
      consumers_(metrics.gauge("keyfs_rotation_known_consumers",
                               "Programs on this host that are known to use keys.")) {}

void RotationMetrics::sample(const RotationStatus& status) {
  using What = RefreshOutcome::What;
  using End = RunDocument::End;
  complete_.raise_to(at(status.ended, End::kComplete));
  in_part_.raise_to(at(status.ended, End::kInPart));
  stopped_.raise_to(at(status.ended, End::kStopped));
  ok_.raise_to(at(status.outcomes, What::kOk));
  gone_.raise_to(at(status.outcomes, What::kGone));
  failed_.raise_to(at(status.outcomes, What::kFailed));
  hooks_.raise_to(status.hooks);
  board_errors_.raise_to(status.board.errors);
  missed_.raise_to(status.consumers.missed);
  overdue_.set(static_cast<double>(status.overdue.value_or(0)));
  is_holder_.set(status.is_holder ? 1 : 0);
  board_there_.set(status.board.state == BoardHealth::State::kThere ? 1 : 0);
  board_damaged_.set(static_cast<double>(status.board.damaged.size()));
  consumers_.set(static_cast<double>(status.consumers.consumers));
}

}  // namespace keyfs
