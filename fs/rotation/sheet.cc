#include "fs/rotation/sheet.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/strict_json.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/json_fields.h"
#include "store/board.h"

namespace keyfs {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr auto kStates = {RowState::kWaiting, RowState::kOrdered,  RowState::kStarted,
                          RowState::kOk,      RowState::kGone,     RowState::kFailed,
                          RowState::kUnknown, RowState::kNotTried, RowState::kDone};

json to_json(const Row& row) {
  json out = {{"consumer", row.consumer},
              {"keys", row.keys},
              {"timeout", std::chrono::duration_cast<seconds>(row.timeout).count()},
              {"state", to_string(row.state)},
              {"attempt", row.attempt}};
  if (row.epoch != 0) out["epoch"] = row.epoch;
  if (!row.life.empty()) out["life"] = row.life;
  if (!row.begun.empty()) out["begun"] = row.begun;
  if (!row.ended.empty()) out["ended"] = row.ended;
  if (!row.why.empty()) out["why"] = row.why;
  if (!row.section.empty()) out["section"] = row.section;
  if (!row.section_now.empty()) out["section_now"] = row.section_now;
  return out;
}

bool from_json(const json& value, Row& row) {
  JsonFields fields(value);
  uint32_t timeout = 0;
  fields.text("consumer", row.consumer);
  fields.maybe("keys", row.keys);
  fields.number("timeout", timeout);
  fields.choice("state", row.state, kStates);
  fields.number("attempt", row.attempt);
  fields.maybe("epoch", row.epoch);
  fields.maybe("life", row.life);
  fields.maybe("begun", row.begun);
  fields.maybe("ended", row.ended);
  fields.maybe("why", row.why);
  fields.maybe("section", row.section);
  fields.maybe("section_now", row.section_now);
  row.timeout = seconds(timeout);
  return fields.good();
}

// A new state of the same attempt.
void become(Row& row, RowState state, std::string why) {
  row.state = state;
  row.why = short_text(why, kMaxWhy);
}

}  // namespace

std::string_view to_string(RowState state) {
  switch (state) {
    case RowState::kWaiting:
      return "waiting";
    case RowState::kOrdered:
      return "ordered";
    case RowState::kStarted:
      return "started";
    case RowState::kOk:
      return "ok";
    case RowState::kGone:
      return "gone";
    case RowState::kFailed:
      return "failed";
    case RowState::kUnknown:
      return "unknown";
    case RowState::kNotTried:
      return "not tried";
    case RowState::kDone:
      return "done";
  }
  return "";
}

Row* Sheet::find(std::string_view consumer) {
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const Row& row) { return row.consumer == consumer; });
  return found == rows.end() ? nullptr : &*found;
}

std::string sheets_of(const std::string& run) { return kRowsPrefix + run + "/"; }
std::string sheets_of(const std::string& run, const std::string& host) {
  return sheets_of(run) + host + "/";
}
std::string sheet_name(const std::string& run, const std::string& host, uint32_t page) {
  return sheets_of(run, host) + std::to_string(page);
}

Duration sheet_poll(uint64_t hosts) {
  return std::clamp<Duration>(seconds(hosts / 200), seconds(1), seconds(30));
}

Result<Sheet> parse_sheet(std::string_view text) {
  const Error damaged(Code::kCorrupt, "a sheet of a run on the board is damaged");
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed) return fail(damaged);
  JsonFields fields(*parsed);
  Sheet sheet;
  fields.text("run", sheet.run);
  fields.text("host", sheet.host);
  fields.number("page", sheet.page);
  fields.maybe("instance", sheet.instance);
  fields.maybe("life", sheet.life);
  fields.maybe("turn", sheet.turn);
  const json* rows = fields.list("rows");
  if (rows == nullptr || rows->size() > kMaxRows) return fail(damaged);
  std::set<std::string> names;
  for (const json& value : *rows) {
    Row row;
    if (!from_json(value, row) || !names.insert(row.consumer).second) return fail(damaged);
    sheet.rows.push_back(std::move(row));
  }
  if (!fields.good() || !is_run(sheet.run) || !is_host_name(sheet.host)) return fail(damaged);
  return sheet;
}

std::string to_text(const Sheet& sheet) {
  json rows = json::array();
  for (const Row& row : sheet.rows) rows.push_back(to_json(row));
  json out = {
      {"run", sheet.run}, {"host", sheet.host}, {"page", sheet.page}, {"rows", std::move(rows)}};
  if (!sheet.instance.empty()) {
    out["instance"] = sheet.instance;
    out["life"] = sheet.life;
    out["turn"] = sheet.turn;
  }
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool order(Row& row, uint64_t epoch) {
  if (row.state != RowState::kWaiting) return false;
  become(row, RowState::kOrdered, "");
  row.epoch = epoch;
  return true;
}

bool withdraw_order(Row& row, uint64_t epoch) {
  if (row.state != RowState::kOrdered || row.epoch >= epoch) return false;
  become(row, RowState::kWaiting, "");
  row.epoch = 0;
  return true;
}

bool take_back(Row& row, std::string why) {
  if (row.state != RowState::kWaiting && row.state != RowState::kOrdered) return false;
  become(row, RowState::kNotTried, std::move(why));
  return true;
}

bool start(Row& row, uint64_t epoch, uint32_t attempt, const std::string& life, std::string now) {
  if (row.state != RowState::kOrdered || row.epoch != epoch || row.attempt != attempt) return false;
  become(row, RowState::kStarted, "");
  row.life = life;
  row.begun = std::move(now);
  row.ended.clear();
  return true;
}

bool finish(Row& row, uint32_t attempt, const std::string& life, RowState state, std::string why,
            std::string now) {
  const bool may = row.state == RowState::kStarted || row.state == RowState::kUnknown;
  if (!may || row.attempt != attempt || row.life != life) return false;
  become(row, state, std::move(why));
  row.ended = std::move(now);
  return true;
}

bool fail_order(Row& row, uint64_t epoch, uint32_t attempt, std::string why, std::string now) {
  if (row.state != RowState::kOrdered || row.epoch != epoch || row.attempt != attempt) return false;
  become(row, RowState::kFailed, std::move(why));
  row.ended = std::move(now);
  return true;
}

bool lose_sight(Row& row, std::string why) {
  if (row.state != RowState::kStarted) return false;
  become(row, RowState::kUnknown, std::move(why));
  return true;
}

bool do_again(Row& row, uint32_t attempt) {
  if (!row.to_do_again() || row.attempt >= attempt) return false;
  become(row, RowState::kWaiting, "");
  row.attempt = attempt;
  row.epoch = 0;
  row.life.clear();
  row.begun.clear();
  row.ended.clear();
  return true;
}

bool mark_done(Row& row, std::string by, std::string now) {
  if (!row.to_do_again()) return false;
  become(row, RowState::kDone, "by " + by + (row.why.empty() ? "" : ", was: " + row.why));
  row.ended = std::move(now);
  return true;
}

}  // namespace keyfs
