#include <nlohmann/json.hpp>

#include "fs/rotation/report.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
Json or_null(const std::optional<WallTime>& time) {
  return time ? Json(to_rfc3339(*time)) : Json();
}

Json to_json(const RotatedKey& key) {
  Json json = {{"id", key.id}, {"state", to_string(key.state)}};
  json["version"] = key.version != 0 ? Json(key.version) : Json();
  json["before"] = key.before != 0 ? Json(key.before) : Json();
  json["missing"] = key.missing;
  json["reason"] = or_null(key.reason);
  return json;
}

Json to_json(const ConsumerReport& consumer) {
  return {{"consumer", consumer.consumer},
          {"host", consumer.host},
          {"state", to_string(consumer.state)},
          {"reason", or_null(consumer.reason)},
          {"keys", consumer.keys},
          {"begun", or_null(consumer.begun)},
          {"ended", or_null(consumer.ended)}};
}

}  // namespace

Json to_json(const ReportCounts& counts) {
  return {{"consumers", counts.consumers},
          {"waiting", counts.waiting},
          {"running", counts.running},
          {"ok", counts.ok},
          {"failed", counts.failed},
          {"not_tried", counts.not_tried},
          {"unknown", counts.unknown},
          {"gone", counts.gone},
          {"done", counts.marked},
          {"not_heard_from", counts.not_heard_from},
          {"keys_not_current", counts.keys_not_current},
          {"keys_with_gaps", counts.keys_with_gaps}};
}

Json to_json(const RunSummary& summary) {
  return {{"run", summary.run},
          {"state", summary.word()},
          {"begun", or_null(summary.begun)},
          {"ended", or_null(summary.ended)},
          {"counts", to_json(summary.counts)},
          {"keys", summary.keys}};
}

Json to_json(const RunReport& report) {
  const RunSummary summary = report.summary();
  Json keys = Json::array();
  for (const RotatedKey& key : report.keys) keys.push_back(to_json(key));
  Json consumers = Json::array();
  for (const ConsumerReport& consumer : report.consumers) {
    consumers.push_back(to_json(consumer));
  }
  return {{"run", report.run},
          {"epoch", report.epoch},
          {"state", summary.word()},
          {"complete", summary.complete()},
          {"holder", or_null(report.holder)},
          {"begun", or_null(report.begun)},
          {"ended", or_null(report.ended)},
          {"counts", to_json(summary.counts)},
          {"keys", std::move(keys)},
          {"consumers", std::move(consumers)},
          {"not_heard_from", report.not_heard_from},
          {"not_heard_from_more", report.not_heard_from_more},
          {"takeovers", report.takeovers},
          {"stopped", or_null(report.stopped)},
          {"notify", to_string(report.notify)},
          {"notify_reason", or_null(report.notify_reason)}};
}

}  // namespace keyfs
