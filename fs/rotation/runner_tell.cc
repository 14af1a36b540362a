// The third part of a run: consumers are told, in waves.
#include <algorithm>
#include <utility>

#include "fs/rotation/runner.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr const char* kStopped = "the run was stopped: ";

bool left_by_a_stop(const Sheets& sheets) {
  return std::any_of(sheets.begin(), sheets.end(), [](const auto& seen) {
    const auto& rows = seen.second.sheet.rows;
    return std::any_of(rows.begin(), rows.end(), [](const Row& row) {
      return row.state == RowState::kNotTried && row.why.starts_with(kStopped);
    });
  });
}

// A host looks at its sheet twice, and proves meanwhile that it serves the new versions.
Duration claim_within(const RunnerOptions& options, uint64_t hosts) {
  return options.claim_within + 2 * sheet_poll(hosts);
}

}  // namespace

// Changes rows of a sheet; whether any was changed.
Task<Result<bool>> Runner::change_rows(std::string sheet, ChangeRow change) {
  for (;;) {
    const auto seen = sheets_.find(sheet);
    if (seen == sheets_.end()) co_return false;
    Sheet next = seen->second.sheet;
    bool changed = false;
    for (Row& row : next.rows) changed = change(row) || changed;
    if (!changed) co_return false;
    if (auto ok = may_act(); !ok) co_return fail(ok.error());
    auto written = co_await board_.replace(sheet, to_text(next), seen->second.revision, until());
    if (!written) co_return fail(written.error());
    if (!written->now) {
      sheets_.erase(sheet);
      co_return false;
    }
    auto now = parse_sheet(written->now->text);
    if (!now) co_return fail(now.error());
    sheets_[sheet] = {std::move(*now), written->now->revision};
    if (written->done) co_return true;
  }
}

// All of them now and then, in between those of which something is expected.
Task<Result<void>> Runner::look_at_sheets() {
  if (listed_sheets_ == TimePoint{} ||
      loop_.now() >= listed_sheets_ + list_sheets_every(sheets_.size())) {
    co_return co_await list_sheets();
  }
  std::vector<std::string> active;
  for (const auto& [name, seen] : sheets_) {
    const auto& rows = seen.sheet.rows;
    if (std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.active(); })) {
      active.push_back(name);
    }
  }
  for (const std::string& name : active) {
    auto there = co_await board_.get(name, until());
    if (!there) co_return fail(there.error());
    if (!*there) {
      sheets_.erase(name);
      continue;
    }
    SeenSheet& seen = sheets_[name];
    if (seen.revision == (*there)->revision) continue;
    auto sheet = parse_sheet((*there)->text);
    if (!sheet) co_return fail(sheet.error());
    seen = {std::move(*sheet), (*there)->revision};
  }
  co_return Result<void>();
}

// What was remembered of another run, another attempt, or of before another host has run it, is old.
void Runner::begin_to_watch() {
  const std::string watching =
      run_->run + " " + std::to_string(run_->attempt) + " " + std::to_string(tenure_.epoch());
  if (watching == watching_) return;
  watching_ = watching;
  primed_ = false;
  watched_.clear();
  over_.clear();
  silent_hosts_.clear();
  alive_.clear();
}

// Which hosts are alive: a claim or a report since this host began to watch is theirs.
void Runner::note_life() {
  if (!primed_ || run_->takeovers.empty()) return;
  for (const auto& [name, seen] : sheets_) {
    for (const Row& row : seen.sheet.rows) {
      const RowPlace place{name, row.consumer};
      const auto before = watched_.find(place);
      const bool claimed = row.state == RowState::kStarted &&
                           (before == watched_.end() || before->second.state != row.state);
      const bool ended = row.state == RowState::kOk || row.state == RowState::kGone ||
                         row.state == RowState::kFailed;
      if (claimed || (ended && !over_.contains(place))) alive_.insert(seen.sheet.host);
    }
  }
}

// Counts failures in a row, in the order in which they are seen.
void Runner::note_outcomes() {
  note_life();
  std::vector<std::pair<std::string, RowState>> ended;
  for (const auto& [name, seen] : sheets_) {
    for (const Row& row : seen.sheet.rows) {
      const RowPlace place{name, row.consumer};
      if (!row.over()) {
        over_.erase(place);
        if (!row.active()) {
          watched_.erase(place);
          continue;
        }
        const auto [at, fresh] = watched_.try_emplace(place, Watched{row.state, loop_.now()});
        if (!fresh && at->second.state != row.state) at->second = {row.state, loop_.now()};
        continue;
      }
      watched_.erase(place);
      const bool fresh = over_.insert(place).second;
      if (fresh && row.consumer != kUnknownPrograms) ended.push_back({row.ended, row.state});
    }
  }
  if (!std::exchange(primed_, true)) return;
  std::stable_sort(ended.begin(), ended.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [when, state] : ended) {
    if (state == RowState::kFailed || state == RowState::kUnknown) ++run_->in_a_row;
    if (state == RowState::kOk || state == RowState::kGone) run_->in_a_row = 0;
  }
}

Task<Result<void>> Runner::give_up_on_silent() {
  const auto watched = watched_;
  for (const auto& [place, since] : watched) {
    const auto seen = sheets_.find(place.sheet);
    if (seen == sheets_.end()) continue;
    const Row* row = seen->second.sheet.find(place.consumer);
    if (row == nullptr || row->state != since.state) continue;
    const bool ordered = row->state == RowState::kOrdered;
    const Duration patience =
        ordered ? claim_within(options_, run_->hosts) : row->timeout + options_.report_within;
    if (loop_.now() < since.since + patience) continue;
    const std::string host = seen->second.sheet.host;
    const std::string consumer = place.consumer;
    const ChangeRow give_up = [&](Row& one) {
      if (one.consumer != consumer) return false;
      if (!ordered) {
        return lose_sight(one,
                          "its host has not told how it ended: look there, then `done` (it was "
                          "done) or `retry`");
      }
      return one.state == RowState::kOrdered && take_back(one, "its host did not answer");
    };
    auto changed = co_await change_rows(place.sheet, give_up);
    if (!changed) co_return fail(changed.error());
    if (!*changed) continue;
    log_.warn("a host has not answered in time", {{"run", run_->run}, {"host", host}});
    if (ordered) silent_hosts_.insert(host);
  }
  if (silent_hosts_.empty()) co_return Result<void>();
  co_return co_await leave_untried("its host did not answer", &silent_hosts_);
}

// All that wait (of these hosts) are not tried; orders that nobody has claimed are taken back
// (unless it is about hosts: they have their time).
Task<Result<void>> Runner::leave_untried(std::string why, const std::set<std::string>* hosts) {
  std::vector<std::string> names;
  for (const auto& [name, seen] : sheets_) {
    if (hosts == nullptr || hosts->contains(seen.sheet.host)) names.push_back(name);
  }
  const ChangeRow leave = [&](Row& row) {
    if (hosts != nullptr && row.state == RowState::kOrdered) return false;
    return take_back(row, why);
  };
  for (const std::string& name : names) {
    auto changed = co_await change_rows(name, leave);
    if (!changed) co_return fail(changed.error());
  }
  co_return Result<void>();
}

// Former holders were silent for long; what they may be doing since is not known.
Doubts Runner::doubts() const {
  Doubts doubts;
  for (const std::string& host : run_->former_holders()) {
    if (host != options_.host && !alive_.contains(host)) doubts.hosts.insert(host);
  }
  if (doubts.hosts.empty()) return doubts;
  for (const auto& [place, watched] : watched_) {
    const auto seen = sheets_.find(place.sheet);
    if (seen == sheets_.end() || !doubts.hosts.contains(seen->second.sheet.host)) continue;
    const Row* row = seen->second.sheet.find(place.consumer);
    if (row == nullptr || row->state != RowState::kStarted || watched.state != row->state) continue;
    if (loop_.now() >= watched.since + row->timeout) doubts.not_awaited.insert(place);
  }
  return doubts;
}

Task<Result<void>> Runner::order_next() {
  const uint64_t epoch = tenure_.epoch();
  // What a predecessor has ordered and nobody has claimed has its turn like all others: an order
  // that took effect late, after its end, may be beyond the wave.
  std::vector<std::string> stale;
  for (const auto& [name, seen] : sheets_) {
    const auto& rows = seen.sheet.rows;
    if (std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
          return row.state == RowState::kOrdered && row.epoch < epoch;
        })) {
      stale.push_back(name);
    }
  }
  const ChangeRow withdraw = [epoch](Row& row) { return withdraw_order(row, epoch); };
  for (const std::string& name : stale) {
    auto changed = co_await change_rows(name, withdraw);
    if (!changed) co_return fail(changed.error());
  }
  std::map<std::string, std::set<std::string>> orders;  // of each sheet together
  for (RowPlace& place : next_to_tell(sheets_, options_.parallel, doubts())) {
    orders[place.sheet].insert(std::move(place.consumer));
  }
  for (const auto& [name, consumers] : orders) {
    const auto& named = consumers;  // a structured binding cannot be captured
    const ChangeRow give_order = [&named, epoch](Row& row) {
      return named.contains(row.consumer) && order(row, epoch);
    };
    auto changed = co_await change_rows(name, give_order);
    if (!changed) co_return fail(changed.error());
  }
  co_return Result<void>();
}

// Whether somebody has asked to stop it.
Task<Result<void>> Runner::look_for_stop() {
  if (!std::exchange(tickets_dirty_, false)) co_return Result<void>();
  auto seen = co_await list_tickets(board_, until());
  if (!seen) co_return fail(seen.error());
  for (const auto& one : seen->tickets) {
    if (one.ticket.kind != Ticket::Kind::kStop || one.ticket.run != run_->run) continue;
    if (run_->state == RunDocument::State::kTelling) {
      run_->state = RunDocument::State::kStopping;
      run_->stop_why = "asked for by " + (one.ticket.by.empty() ? "somebody" : one.ticket.by);
      if (auto ok = co_await save(); !ok) co_return ok;
      if (can_stop(sheets_)) announcer_.stopped(view());
    }
    if (auto ok = co_await remove(one.document); !ok) co_return ok;
  }
  co_return Result<void>();
}

Task<Runner::Step> Runner::tell() {
  begin_to_watch();
  if (!announced_) {
    if (auto ok = co_await announce(); !ok) co_return fail(ok.error());
  }
  if (auto ok = co_await look_at_sheets(); !ok) co_return fail(ok.error());
  note_outcomes();
  if (auto ok = co_await give_up_on_silent(); !ok) co_return fail(ok.error());
  if (auto ok = co_await look_for_stop(); !ok) co_return fail(ok.error());
  // Whoever enrols later is left out then, if it is still so.
  if (run_->state == RunDocument::State::kTelling && can_stop(sheets_)) {
    const RunCounts tellable = count_tellable(sheets_);
    const bool others = count(sheets_).total != tellable.total;
    const auto why = must_stop(tellable, run_->in_a_row, options_.stop_after, others);
    if (why) {
      log_.warn("a rotation is stopped", {{"run", run_->run}, {"reason", *why}});
      run_->state = RunDocument::State::kStopping;
      run_->stop_why = *why;
      run_->counts = count(sheets_);
      if (auto ok = co_await save(); !ok) co_return fail(ok.error());
      announcer_.stopped(view());
    }
  }
  auto moved = run_->state == RunDocument::State::kStopping
                   ? leave_untried(kStopped + run_->stop_why, nullptr)
                   : order_next();
  if (auto ok = co_await std::move(moved); !ok) co_return fail(ok.error());
  note_outcomes();
  const RunCounts counts = count(sheets_);
  if (counts.waiting + counts.active == 0) co_return co_await finish_telling();
  if (!(counts == run_->counts)) {
    run_->counts = counts;
    if (auto ok = co_await save(); !ok) co_return fail(ok.error());
  }
  co_return options_.look_every;
}

Task<Runner::Step> Runner::finish_telling() {
  // Hosts that came late are let in now, at the latest.
  if (auto ok = co_await list_sheets(); !ok) co_return fail(ok.error());
  const RunCounts counts = count(sheets_);
  if (counts.waiting + counts.active != 0) co_return Duration::zero();
  expected_.insert(run_->unheard.begin(), run_->unheard.end());
  if (run_->unheard_more != 0) {
    auto expected = co_await expected_hosts();
    if (!expected) co_return fail(expected.error());
    expected_ = std::move(*expected);
  }
  set_unheard();
  run_->counts = counts;
  run_->state = RunDocument::State::kEnded;
  // By hand, when all had their turn already: it ends as it would have without that.
  if (!left_by_a_stop(sheets_)) run_->stop_why.clear();
  run_->ended = now();
  run_->end = !run_->stop_why.empty() ? RunDocument::End::kStopped
              : run_->whole()         ? RunDocument::End::kComplete
                                      : RunDocument::End::kInPart;
  if (auto ok = co_await save(); !ok) co_return fail(ok.error());
  co_return Duration::zero();
}

}  // namespace keyfs
