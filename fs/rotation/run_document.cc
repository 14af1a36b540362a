// The document of a run.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/strict_json.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/json_fields.h"
#include "store/board.h"

namespace keyfs {
namespace {

using nlohmann::json;

// Why keys are not current, of all keys together, so that a run fits into a document: a few are told
// whole, of many at least the beginning.
constexpr size_t kMaxKeyWhys = 10'000;
constexpr size_t kLeastKeyWhy = 100;
constexpr size_t kMostKeyWhy = 1000;
constexpr size_t kMaxMissing = 4;
constexpr size_t kMaxRetries = 10;
constexpr size_t kMaxNoticeWhy = 200;
constexpr size_t kMaxTakeovers = 10;
constexpr const char* kTakenOverBy = " -> ";  // no host's name has blanks

Error damaged() { return Error(Code::kCorrupt, "a run's document on the board is damaged"); }

std::string_view to_string(RunDocument::Notice notice) {
  switch (notice) {
    case RunDocument::Notice::kNone:
      return "none";
    case RunDocument::Notice::kSending:
      return "sending";
    case RunDocument::Notice::kSent:
      return "sent";
    case RunDocument::Notice::kFailed:
      return "failed";
  }
  return "";
}

json to_json(const RunKey& key, size_t most_why) {
  json out = {{"id", key.id}, {"token", key.token}, {"state", to_string(key.state)}};
  if (!key.rotation.empty()) out["rotation"] = key.rotation;
  if (key.promote != 0) out["promote"] = key.promote;
  if (key.promote_from) out["promote_from"] = *key.promote_from;
  if (key.before != 0) out["before"] = key.before;
  if (key.current != 0) out["current"] = key.current;
  if (!key.why.empty()) out["why"] = short_text(key.why, most_why);
  if (!key.missing.empty()) {
    out["missing"] = std::vector<std::string>(
        key.missing.begin(), key.missing.begin() + static_cast<std::ptrdiff_t>(
                                                       std::min(kMaxMissing, key.missing.size())));
  }
  return out;
}

bool from_json(const json& value, RunKey& key) {
  using State = RunKey::State;
  JsonFields fields(value);
  fields.text("id", key.id);
  fields.text("token", key.token);
  fields.choice("state", key.state,
                {State::kWaiting, State::kCurrent, State::kOverdue, State::kRefused});
  fields.maybe("rotation", key.rotation);
  fields.maybe("promote", key.promote);
  fields.maybe("promote_from", key.promote_from);
  fields.maybe("before", key.before);
  fields.maybe("current", key.current);
  fields.maybe("missing", key.missing);
  fields.maybe("why", key.why);
  return fields.good();
}

json to_json(const RunCounts& counts) {
  return {{"total", counts.total},   {"ok", counts.ok},           {"gone", counts.gone},
          {"failed", counts.failed}, {"unknown", counts.unknown}, {"not_tried", counts.not_tried},
          {"done", counts.done},     {"waiting", counts.waiting}, {"active", counts.active}};
}

bool from_json(const json& value, RunCounts& counts) {
  JsonFields fields(value);
  fields.number("total", counts.total);
  fields.number("ok", counts.ok);
  fields.number("gone", counts.gone);
  fields.number("failed", counts.failed);
  fields.number("unknown", counts.unknown);
  fields.number("not_tried", counts.not_tried);
  fields.number("done", counts.done);
  fields.number("waiting", counts.waiting);
  fields.number("active", counts.active);
  return fields.good();
}

template <class T>
void cut_front(std::vector<T>& list, size_t most) {
  if (list.size() > most) list.erase(list.begin(), list.end() - static_cast<std::ptrdiff_t>(most));
}

}  // namespace

std::string_view to_string(RunKey::State state) {
  switch (state) {
    case RunKey::State::kWaiting:
      return "waiting";
    case RunKey::State::kCurrent:
      return "current";
    case RunKey::State::kOverdue:
      return "overdue";
    case RunKey::State::kRefused:
      return "refused";
  }
  return "";
}

std::string_view to_string(RunDocument::State state) {
  switch (state) {
    case RunDocument::State::kRotating:
      return "rotating";
    case RunDocument::State::kEnrolling:
      return "enrolling";
    case RunDocument::State::kTelling:
      return "telling";
    case RunDocument::State::kStopping:
      return "stopping";
    case RunDocument::State::kEnded:
      return "ended";
  }
  return "";
}

std::string_view to_string(RunDocument::End end) {
  switch (end) {
    case RunDocument::End::kNone:
      return "";
    case RunDocument::End::kComplete:
      return "complete";
    case RunDocument::End::kInPart:
      return "in part";
    case RunDocument::End::kStopped:
      return "stopped";
  }
  return "";
}

std::string takeover_of(const std::string& from, const std::string& to) {
  return from + kTakenOverBy + to;
}

std::set<std::string> RunDocument::former_holders() const {
  std::set<std::string> hosts;
  for (const std::string& takeover : takeovers) {
    const size_t end = takeover.find(kTakenOverBy);
    if (end != takeover.npos) hosts.insert(takeover.substr(0, end));
  }
  return hosts;
}

bool RunDocument::all_told() const {
  return unheard.empty() && unheard_more == 0 &&
         counts.ok + counts.gone + counts.done == counts.total;
}

bool RunDocument::whole() const {
  const std::vector<RunKey> told = keys_told(keys);
  const bool keys_whole = std::all_of(told.begin(), told.end(), [](const RunKey& key) {
    return key.state == RunKey::State::kCurrent && key.missing.empty();
  });
  return keys_whole && all_told();
}

bool RunDocument::has_token(std::string_view token) const {
  return std::any_of(keys.begin(), keys.end(),
                     [&](const RunKey& key) { return key.token == token; }) ||
         std::find(retries.begin(), retries.end(), token) != retries.end();
}

std::vector<RunKey> keys_told(const std::vector<RunKey>& keys) {
  using State = RunKey::State;
  const auto rank = [](State state) {
    return state == State::kRefused   ? 3
           : state == State::kOverdue ? 2
           : state == State::kWaiting ? 1
                                      : 0;
  };
  std::vector<RunKey> told;
  std::map<std::string_view, size_t> places;
  for (const RunKey& key : keys) {
    const auto [place, fresh] = places.try_emplace(key.id, told.size());
    if (fresh) {
      told.push_back(key);
      continue;
    }
    RunKey& one = told[place->second];
    const uint32_t before = one.before != 0 ? one.before : key.before;
    const uint32_t current = key.current != 0 ? key.current : one.current;
    // What is missing is missing of the version that is current last.
    if (rank(key.state) >= rank(one.state)) {
      one = key;
    } else if (key.state == State::kCurrent) {
      one.missing = key.missing;
    }
    one.before = before;
    one.current = current;
  }
  return told;
}

std::vector<size_t> places_told(const std::vector<RunKey>& keys) {
  std::map<std::string_view, size_t> last;
  for (size_t place = 0; place < keys.size(); ++place) {
    if (keys[place].state == RunKey::State::kCurrent) last[keys[place].id] = place;
  }
  std::vector<size_t> places;
  for (const auto& [id, place] : last) places.push_back(place);
  std::sort(places.begin(), places.end());
  return places;
}

std::string to_text(const RunDocument& run) {
  json keys = json::array();
  const size_t share = kMaxKeyWhys / std::max<size_t>(run.keys.size(), 1);
  const size_t most_why = std::clamp(share, kLeastKeyWhy, kMostKeyWhy);
  for (const RunKey& key : run.keys) keys.push_back(to_json(key, most_why));
  std::vector<std::string> retries = run.retries;
  cut_front(retries, kMaxRetries);
  std::vector<std::string> takeovers = run.takeovers;
  cut_front(takeovers, kMaxTakeovers);
  json out = {{"run", run.run},
              {"epoch", run.epoch},
              {"holder", run.holder},
              {"state", to_string(run.state)},
              {"attempt", run.attempt},
              {"begun", run.begun},
              {"end", to_string(run.end)},
              {"keys", std::move(keys)},
              {"counts", to_json(run.counts)},
              {"in_a_row", run.in_a_row},
              {"hosts", run.hosts},
              {"unheard", run.unheard},
              {"unheard_more", run.unheard_more},
              {"notify", to_string(run.notice)}};
  if (!run.ended.empty()) out["ended"] = run.ended;
  if (!run.stop_why.empty()) out["stop_why"] = short_text(run.stop_why, 200);
  if (!retries.empty()) out["retries"] = std::move(retries);
  if (!takeovers.empty()) out["takeovers"] = std::move(takeovers);
  if (!run.notice_why.empty()) out["notify_why"] = without_urls(run.notice_why, kMaxNoticeWhy);
  if (!run.excused.empty()) out["excused"] = run.excused;
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<RunDocument> parse_run(std::string_view text) {
  using State = RunDocument::State;
  using End = RunDocument::End;
  using Notice = RunDocument::Notice;
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed) return fail(damaged());
  JsonFields fields(*parsed);
  RunDocument run;
  fields.text("run", run.run);
  fields.number("epoch", run.epoch);
  fields.text("holder", run.holder);
  fields.choice(
      "state", run.state,
      {State::kRotating, State::kEnrolling, State::kTelling, State::kStopping, State::kEnded});
  fields.number("attempt", run.attempt);
  fields.text("begun", run.begun);
  fields.choice("end", run.end, {End::kNone, End::kComplete, End::kInPart, End::kStopped});
  fields.number("in_a_row", run.in_a_row);
  fields.number("hosts", run.hosts);
  fields.maybe("unheard", run.unheard);
  fields.maybe("unheard_more", run.unheard_more);
  std::string notice;
  fields.text("notify", notice);
  for (const Notice one : {Notice::kNone, Notice::kSending, Notice::kSent, Notice::kFailed}) {
    if (to_string(one) == notice) run.notice = one;
  }
  fields.maybe("notify_why", run.notice_why);
  fields.maybe("ended", run.ended);
  fields.maybe("stop_why", run.stop_why);
  fields.maybe("retries", run.retries);
  fields.maybe("takeovers", run.takeovers);
  std::vector<std::string> excused;
  fields.maybe("excused", excused);
  run.excused.insert(excused.begin(), excused.end());
  const json* counts = fields.find("counts");
  if (counts == nullptr || !from_json(*counts, run.counts)) fields.bad();
  const json* keys = fields.list("keys");
  if (keys == nullptr || keys->size() > kMaxRunKeys) return fail(damaged());
  for (const json& value : *keys) {
    RunKey key;
    if (!from_json(value, key)) return fail(damaged());
    run.keys.push_back(std::move(key));
  }
  if (!fields.good() || !is_run(run.run) || run.epoch > kMaxCounted) return fail(damaged());
  return run;
}

}  // namespace keyfs
