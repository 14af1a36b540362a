// A host enrols its consumers in a run.
#include <algorithm>
#include <utility>

#include "fs/rotation/agent.h"

namespace keyfs {

// Puts the sheets of this host, or finds those that it has put before, and adds what they lack.
Task<Result<void>> HostAgent::enrol() {
  std::vector<KeyVersion> keys;
  std::set<std::string> ids;
  // One that was not rotated has no version that anybody could lack, nor has one that was rotated
  // once more.
  for (const RunKey& key : document_->keys) keys.push_back({key.id, 0});
  for (const size_t place : places_told(document_->keys)) {
    keys[place].version = document_->keys[place].current;
    ids.insert(keys[place].id);
  }
  bool is_awaited = !registered_ || is_listed_with(ids);
  if (!over_) {
    // So that nothing is put under a name that is another's, and the next run waits for this host
    // also if its document was lost. One that cannot be read is no reason to miss the run.
    auto registered = co_await register_host(false);
    if (!registered && registered.error().code != Code::kCorrupt) co_return registered;
    if (auto looked = co_await look_at_lost(runs_of_lost(ids)); !looked) co_return looked;
  }
  if (left_) co_return Result<void>();
  const std::string host = host_;
  auto found = co_await find_own_sheets();
  if (!found) co_return fail(found.error());
  if (!*found) co_return Result<void>();  // again, by its new name
  const bool there = sheets_.contains(sheet_name(run_, host, 0));
  if (over_) {
    // Too late; unless it is begun again.
    enrolled_ = there;
    co_return Result<void>();
  }
  std::vector<Row> rows = rows_to_enrol(keys);
  const std::set<std::string> lost = lost_of(ids);
  if (!lost.empty()) rows.push_back(unknown_programs(keys, lost));
  std::erase_if(rows, [&](const Row& row) {
    return is_running(row.consumer) ||
           std::any_of(sheets_.begin(), sheets_.end(),
                       [&](const auto& one) { return one.second.find(row.consumer) != nullptr; });
  });
  // A host that nobody waits for and that has nothing to enrol says nothing; nor does it in the
  // place of one that has its name.
  is_awaited = (is_awaited || is_listed_with(ids)) && !anothers_;
  if (!rows.empty() || (!there && is_awaited)) {
    if (auto put = co_await put_rows(std::move(rows)); !put) co_return put;
  }
  if (host != host_) co_return Result<void>();
  enrolled_ = true;
  if (lost.empty()) co_return Result<void>();
  for (const std::string& id : lost) lost_[id] = run_;
  co_return co_await register_host(true);
}

// By a row that was put under a former name.
bool HostAgent::is_running(const std::string& consumer) const {
  return std::any_of(running_.begin(), running_.end(), [&](const std::string& one) {
    return one.starts_with(sheets_of(run_)) && one.ends_with(" " + consumer);
  });
}

// False: they are another's, and this host has another name now.
Task<Result<bool>> HostAgent::find_own_sheets() {
  const std::string host = host_;
  auto page =
      co_await board_.list(sheets_of(run_, host), "", kMaxBoardPage, loop_.now() + options_.call);
  if (!page) co_return fail(page.error());
  if (host != host_) co_return false;
  for (const BoardDocument& document : page->documents) {
    auto sheet = parse_sheet(document.text);
    if (!sheet) co_return fail(sheet.error());
    if (!sheet->instance.empty() && !identity_.instance.empty()) {
      if (sheet->instance != identity_.instance) {
        if (over_ || (consumers_.keys_in_use().empty() && lost_.empty() && !lost_all_)) continue;
        step_aside();
        co_return false;
      }
      // One of an earlier life has a lower turn.
      if (sheet->life != options_.life && listed_ && sheet->turn >= turn_) {
        co_await part({});
        co_return false;
      }
    }
    sheets_[document.name] = std::move(*sheet);
  }
  co_return true;
}

std::vector<Row> HostAgent::rows_to_enrol(const std::vector<KeyVersion>& keys) {
  std::vector<Row> rows;
  for (const ConsumerToTell& consumer : consumers_.to_tell(keys)) {
    if (consumer.name.size() > kMaxConsumerName || !is_printable(consumer.name)) {
      log_.error("a consumer's name is too long or not printable: it is not told of new keys",
                 {{"consumer", short_text(consumer.name, kMaxConsumerName)}});
      continue;
    }
    Row row;
    row.consumer = consumer.name;
    for (const size_t place : consumer.keys) {
      if (place < keys.size() && keys[place].version != 0) {
        row.keys.push_back(static_cast<uint32_t>(place));
      }
    }
    if (row.keys.empty()) continue;
    row.timeout = consumer.timeout;
    row.section = consumers_.section_of(consumer.name);
    rows.push_back(std::move(row));
  }
  return rows;
}

Task<Result<void>> HostAgent::put_rows(std::vector<Row> rows) {
  const std::string run = run_;
  const std::string host = host_;
  std::vector<Sheet> sheets(1);
  for (Row& row : rows) {
    row.attempt = document_->attempt;
    if (sheets.back().rows.size() == kMaxRows) sheets.emplace_back();
    sheets.back().rows.push_back(std::move(row));
  }
  uint32_t free = 0;
  for (Sheet& sheet : sheets) {
    while (sheets_.contains(sheet_name(run, host, free))) ++free;
    sheet.page = free++;
    sheet.run = run;
    sheet.host = host;
    sheet.instance = identity_.instance;
    if (!sheet.instance.empty()) {
      sheet.life = options_.life;
      sheet.turn = turn_;
    }
  }
  // The first page last: it says that all are there.
  for (size_t place = sheets.size(); place-- > 0;) {
    const std::string name = sheet_name(run, host, sheets[place].page);
    auto put =
        co_await board_.put_if_absent(name, to_text(sheets[place]), loop_.now() + options_.call);
    if (!put) co_return fail(put.error());
    if (host != host_) co_return Result<void>();
    // Of an earlier try, or of another daemon: the next look finds out.
    if (!put->done) co_return fail(Code::kUnavailable, "this host has a sheet there already");
    auto now = put->now ? parse_sheet(put->now->text) : Result<Sheet>(sheets[place]);
    if (!now) co_return fail(now.error());
    sheets_[name] = std::move(*now);
  }
  co_return Result<void>();
}

}  // namespace keyfs
