#include "fs/rotation/rotation_status.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

template <class Key>
uint64_t at(const std::map<Key, uint64_t>& counts, Key key) {
  const auto found = counts.find(key);
  return found == counts.end() ? 0 : found->second;
}

Json to_json(const BoardHealth& board) {
  Json damaged = Json::array();
  for (const auto& [name, since] : board.damaged) {
    damaged.push_back({{"name", name}, {"since", to_rfc3339(since)}});
  }
  return {{"state", to_string(board.state)},
          {"since", board.since ? Json(to_rfc3339(*board.since)) : Json()},
          {"reason", or_null(board.why)},
          {"errors", board.errors},
          {"damaged", std::move(damaged)}};
}

Json to_json(const RunCounts& counts) {
  return {{"consumers", counts.total},
          {"waiting", counts.waiting},
          {"running", counts.active},
          {"ok", counts.ok},
          {"failed", counts.failed},
          {"unknown", counts.unknown},
          {"not_tried", counts.not_tried},
          {"gone", counts.gone},
          {"done", counts.done}};
}

Json to_json(const RotationStatus::Run& run, bool is_holder) {
  Json keys = Json::array();
  for (const RunKey& key : run.keys) {
    keys.push_back({{"id", key.id},
                    {"state", to_string(key.state)},
                    {"version", key.current != 0 ? Json(key.current) : Json()},
                    {"before", key.before != 0 ? Json(key.before) : Json()},
                    {"reason", or_null(key.why)}});
  }
  return {{"run", run.run},
          {"state", run.state ? Json(to_string(*run.state)) : Json()},
          {"begun", or_null(run.begun)},
          {"counts", run.counts ? to_json(*run.counts) : Json()},
          {"not_heard_from", is_holder ? Json(run.not_heard_from) : Json()},
          {"keys", std::move(keys)},
          {"here", {{"consumers", run.consumers_here}, {"running", run.running_here}}}};
}

Json to_json(const SeenConsumer& consumer) {
  Json keys = Json::array();
  const size_t shown = std::min(consumer.keys.size(), kMaxShownKeys);
  for (size_t i = 0; i < shown; ++i) keys.push_back(to_string(consumer.keys[i]));
  return {{"unit", or_null(consumer.who.unit)},
          {"cgroup", or_null(consumer.who.cgroup)},
          {"executable", or_null(consumer.who.executable)},
          {"uid", consumer.who.uid},
          {"sections", consumer.sections},
          {"keys", std::move(keys)},
          {"keys_more", consumer.keys.size() - shown},
          {"processes", consumer.processes},
          {"seen", to_rfc3339(consumer.seen)}};
}

Json to_json(const std::vector<Ticket>& tickets) {
  // Of many the reason is one and the same, mostly.
  const size_t most = tickets.size() <= 100 ? kMaxOverdueWhy : kMaxOverdueWhy / 5;
  Json all = Json::array();
  for (const Ticket& ticket : tickets) {
    all.push_back({{"id", ticket.id},
                   {"since", or_null(ticket.overdue_since)},
                   {"reason", or_null(short_text(ticket.overdue_why, most))}});
  }
  return all;
}

// What the holder knows of the run that goes on.
std::optional<RotationStatus::Run> run_of_holder(const Runner::Status& runner) {
  if (runner.run.empty()) return std::nullopt;
  RotationStatus::Run run;
  run.run = runner.run;
  if (runner.document) {
    run.state = runner.document->state;
    run.keys = keys_told(runner.document->keys);
    run.counts = runner.counts;
    run.begun = runner.document->begun;
    run.not_heard_from = runner.document->unheard.size() + runner.document->unheard_more;
  }
  return run;
}

}  // namespace

RotationStatus rotation_status(const Rotation* rotation, const WatchedBoard* board,
                               const Consumers& consumers) {
  RotationStatus status;
  status.consumers = consumers.status();
  if (board != nullptr) {
    status.board = board->health();
  } else {
    status.board.state = BoardHealth::State::kNotThere;
    status.board.why = "this store has no board";
  }
  if (rotation == nullptr) return status;
  status.host = rotation->host();
  status.may_run = rotation->lock() != nullptr;
  const HostAgent::Status agent = rotation->agent().status();
  status.hooks = agent.hooks;
  status.outcomes = agent.outcomes;
  status.name_taken = agent.name_taken;
  status.troubles = agent.troubles;
  if (const auto& pulse = rotation->feed().pulse()) {
    if (!pulse->run.empty()) {
      status.run = RotationStatus::Run();
      status.run->run = pulse->run;
    }
    status.overdue = pulse->overdue;
  }
  if (!status.run && !agent.run.empty()) {
    status.run = RotationStatus::Run();
    status.run->run = agent.run;
  }
  if (const RunLock* lock = rotation->lock()) {
    status.holder = lock->holder();
    status.epoch = lock->epoch();
    status.is_holder = lock->may_act();
  }
  if (const Runner* runner = rotation->runner()) {
    const Runner::Status known = runner->status();
    status.ended = known.ended;
    if (status.is_holder) {
      status.run = run_of_holder(known);
      status.waiting = known.waiting;
      status.overdue = known.overdue.size();
      status.overdue_tickets = known.overdue;
    }
  }
  if (status.run && status.run->run == agent.run) {
    if (status.run->keys.empty()) status.run->keys = agent.keys;
    status.run->consumers_here = agent.consumers;
    status.run->running_here = agent.running;
  }
  return status;
}

Json to_json(const RotationStatus& status, std::vector<SeenConsumer> consumers) {
  using What = RefreshOutcome::What;
  using End = RunDocument::End;
  if (consumers.size() > kMaxShownConsumers) {
    std::nth_element(consumers.begin(), consumers.begin() + kMaxShownConsumers, consumers.end(),
                     [](const auto& a, const auto& b) { return a.seen > b.seen; });
    consumers.resize(kMaxShownConsumers);
    std::sort(consumers.begin(), consumers.end(), [](const auto& a, const auto& b) {
      return std::tie(a.who.uid, a.who) < std::tie(b.who.uid, b.who);
    });
  }
  Json list = Json::array();
  for (const SeenConsumer& consumer : consumers) list.push_back(to_json(consumer));
  Json all;
  all["host"] = or_null(status.host);
  all["name_taken"] = or_null(status.name_taken);
  all["troubles"] = status.troubles;
  all["may_run"] = status.may_run;
  all["is_holder"] = status.is_holder;
  all["holder"] = or_null(status.holder);
  all["epoch"] = status.epoch != 0 ? Json(status.epoch) : Json();
  all["board"] = to_json(status.board);
  all["run"] = status.run ? to_json(*status.run, status.is_holder) : Json();
  all["tickets_waiting"] = or_null(status.waiting);
  all["overdue"] = or_null(status.overdue);
  all["overdue_tickets"] = status.overdue_tickets ? to_json(*status.overdue_tickets) : Json();
  all["hooks"] = {{"begun", status.hooks},
                  {"ok", at(status.outcomes, What::kOk)},
                  {"gone", at(status.outcomes, What::kGone)},
                  {"failed", at(status.outcomes, What::kFailed)}};
  all["runs_ended"] = {{"complete", at(status.ended, End::kComplete)},
                       {"in part", at(status.ended, End::kInPart)},
                       {"stopped", at(status.ended, End::kStopped)}};
  all["consumers"] = std::move(list);
  all["consumers_known"] = status.consumers.consumers;
  all["consumers_not_saved"] = or_null(status.consumers.save_error);
  all["openings_missed"] = status.consumers.missed;
  return all;
}

}  // namespace keyfs
