// The second part of a run: hosts enrol their consumers.
#include <algorithm>
#include <utility>

#include "fs/rotation/runner.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

bool uses(const HostEntry& host, const RunDocument& run) {
  if (!host.keys) return true;
  return std::any_of(run.keys.begin(), run.keys.end(), [&](const RunKey& key) {
    return key.state == RunKey::State::kCurrent && host.keys->contains(key.id);
  });
}

}  // namespace

// Tells all hosts by the pulse what run is going on, which records it has changed, and how much is
// overdue.
Task<Result<void>> Runner::announce() {
  PulseNews news;
  news.run = now_->run;
  news.may_write = [this] { return may_act(); };
  if (run_) {
    for (const size_t place : places_told(run_->keys)) news.changed.push_back(run_->keys[place].id);
  }
  // Before the tickets were looked at, what the pulse says is as good.
  const size_t overdue = overdue_.size();
  const bool known = listed_tickets_ != TimePoint{};
  if (known) news.overdue = overdue;
  if (auto ok = may_act(); !ok) co_return ok;
  auto told =
      co_await tell_pulse(board_, loop_, random_, std::move(news), options_.pulse_shards, until());
  if (!told) co_return told;
  announced_ = true;
  if (known) told_overdue_ = overdue;
  co_return Result<void>();
}

// The hosts that are listed with consumers of a key of the run.
Task<Result<std::set<std::string>>> Runner::expected_hosts() {
  std::set<std::string> hosts;
  std::map<std::string, HostEntry> listed;
  std::string after;
  for (;;) {
    auto page = co_await board_.list(kHostsPrefix, after, kMaxBoardPage, until());
    if (!page) co_return fail(page.error());
    // What cannot be read may use any key.
    std::vector<std::string> damaged = std::move(page->corrupt);
    for (const BoardDocument& document : page->documents) {
      const auto host = parse_host(document.text);
      if (!host || host_document_name(host->host) != document.name) {
        damaged.push_back(document.name);
        continue;
      }
      const auto at = from_rfc3339(host->at);
      // It has not told of itself for days: it was taken down without a word.
      if (at && *at + std::chrono::duration_cast<std::chrono::milliseconds>(options_.forget_hosts) <
                    loop_.clock().wall()) {
        if (auto ok = may_act(); !ok) co_return fail(ok.error());
        auto removed = co_await board_.remove(document.name, document.revision, until());
        if (!removed) co_return fail(removed.error());
        if (removed->done) continue;
      }
      if (uses(*host, *run_)) hosts.insert(host->host);
      listed[host->host] = *host;
    }
    for (const std::string& name : damaged) {
      std::string host = name.substr(std::min(name.size(), std::string_view(kHostsPrefix).size()));
      if (is_host_name(host)) hosts.insert(std::move(host));
    }
    if (!page->next) break;
    after = std::move(*page->next);
  }
  // A board that has lost them all: those that do not come back are not heard from.
  if (listed.empty() && hosts.empty() && !seen_hosts_.empty()) {
    log_.warn("no host is listed on the board any more: those that were listed are waited for");
    for (const auto& [name, host] : seen_hosts_) {
      if (uses(host, *run_)) hosts.insert(name);
    }
  }
  seen_hosts_ = std::move(listed);
  co_return hosts;
}

// How long to wait until all hosts can be listed that must be told.
Duration Runner::until_listing() {
  if (current_of_ != run_->run && begun_here_ != run_->run) {
    // Another has made them current, nobody knows when.
    current_of_ = run_->run;
    current_at_ = loop_.now();
  }
  Duration after = options_.list_after;
  const auto period = options_.shortest_period ? options_.shortest_period() : std::nullopt;
  if (period) after = std::min(after, *period / 50);
  const TimePoint from = std::max(current_at_ + after, new_board_until_);
  return std::max<Duration>(from - loop_.now(), Duration::zero());
}

Task<Result<void>> Runner::list_sheets() {
  Sheets sheets;  // those that are not as they were
  std::vector<std::string> same;
  std::string after;
  for (;;) {
    auto page = co_await board_.list(sheets_of(run_->run), after, kMaxBoardPage, until());
    if (!page) co_return fail(page.error());
    for (BoardDocument& document : page->documents) {
      const auto known = sheets_.find(document.name);
      if (known != sheets_.end() && known->second.revision == document.revision) {
        same.push_back(std::move(document.name));
        continue;
      }
      auto sheet = parse_sheet(document.text);
      if (!sheet || sheet_name(sheet->run, sheet->host, sheet->page) != document.name) {
        log_.warn("what is on the board is no sheet of a run, and is left alone",
                  {{"name", document.name}});
        continue;
      }
      // Whoever enrols while the run is watched is there.
      if (listed_sheets_ != TimePoint{} && known == sheets_.end()) alive_.insert(sheet->host);
      sheets[document.name] = {std::move(*sheet), std::move(document.revision)};
    }
    if (!page->next) break;
    after = std::move(*page->next);
  }
  for (const std::string& name : same) sheets.insert(sheets_.extract(name));
  sheets_ = std::move(sheets);
  listed_sheets_ = loop_.now();
  co_return Result<void>();
}

Duration Runner::list_sheets_every(size_t sheets) {
  return std::clamp<Duration>(std::chrono::seconds(sheets / 50), Duration::zero(), 30s);
}

std::set<std::string> Runner::enrolled_hosts() const {
  std::set<std::string> hosts;
  for (const auto& [name, seen] : sheets_) {
    if (seen.sheet.page == 0) hosts.insert(seen.sheet.host);
  }
  return hosts;
}

// Names those of expected_ that have not enrolled.
void Runner::set_unheard() {
  const std::set<std::string> enrolled = enrolled_hosts();
  std::vector<std::string> missing;
  for (const std::string& host : expected_) {
    if (!enrolled.contains(host) && !run_->excused.contains(host)) missing.push_back(host);
  }
  run_->unheard_more = missing.size() - std::min(missing.size(), kMaxNamedHosts);
  missing.resize(std::min(missing.size(), kMaxNamedHosts));
  run_->unheard = std::move(missing);
}

Task<Runner::Step> Runner::enrol() {
  begin_to_watch();
  if (!announced_) {
    if (auto ok = co_await announce(); !ok) co_return fail(ok.error());
  }
  if (!enrolling_since_) {
    const Duration pause = until_listing();
    if (pause > Duration::zero()) co_return std::min(pause, options_.look_every);
    // Again: only those that are missing are waited for.
    if (run_->attempt > 1 && run_->unheard_more == 0) {
      expected_.clear();
      expected_.insert(run_->unheard.begin(), run_->unheard.end());
    } else {
      auto expected = co_await expected_hosts();
      if (!expected) co_return fail(expected.error());
      expected_ = std::move(*expected);
    }
    enrolling_since_ = missing_told_ = loop_.now();
  }
  if (auto ok = co_await list_sheets(); !ok) co_return fail(ok.error());
  std::vector<std::string> names;
  for (const auto& [name, seen] : sheets_) names.push_back(name);
  const uint32_t attempt = run_->attempt;
  const ChangeRow anew = [attempt](Row& row) { return do_again(row, attempt); };
  for (const std::string& name : names) {
    auto again = co_await change_rows(name, anew);
    if (!again) co_return fail(again.error());
  }
  set_unheard();
  const bool all = run_->unheard.empty() && run_->unheard_more == 0;
  if (!all && loop_.now() < *enrolling_since_ + options_.enrol_for) {
    // Whoever watches the run sees whom it waits for.
    if (loop_.now() >= missing_told_ + options_.tell_missing_every) {
      if (auto ok = co_await save(); !ok) co_return fail(ok.error());
      missing_told_ = loop_.now();
    }
    co_return std::max(options_.look_every, list_sheets_every(sheets_.size()));
  }
  run_->hosts = enrolled_hosts().size() + run_->unheard.size() + run_->unheard_more;
  run_->counts = count(sheets_);
  run_->state = RunDocument::State::kTelling;
  if (auto ok = co_await save(); !ok) co_return fail(ok.error());
  for (const std::string& host : run_->unheard) {
    log_.warn("a host was not heard from: its consumers are not told of new keys",
              {{"run", run_->run}, {"host", host}});
  }
  co_return Duration::zero();
}

}  // namespace keyfs
