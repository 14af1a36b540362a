#include "fs/rotation/board_desk.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/encoding.h"
#include "base/retry.h"
#include "fs/rotation/run_report.h"
#include "fs/rotation/tickets.h"

namespace keyfs {
namespace {

constexpr size_t kMostBy = 100;
// More runs than that are listed, fewer are read one by one.
constexpr uint64_t kMostByNumber = 5;

bool is_of_a_key(const Ticket& ticket) {
  return ticket.kind == Ticket::Kind::kRotate || ticket.kind == Ticket::Kind::kPromote;
}

// A retry that no runner has begun. Its ticket stays for a moment after that.
bool waits(const RunDocument& run, const std::multimap<std::string, std::string>& retries) {
  const auto [first, last] = retries.equal_range(run.run);
  return std::any_of(first, last, [&](const auto& one) { return !run.has_token(one.second); });
}

// `ticket`: that is on the board; `run`: the last that has taken it. Both may be null.
TicketFate fate_of(const std::string& token, const Ticket* ticket, const RunDocument* run) {
  using State = TicketFate::State;
  TicketFate fate;
  bool put_off = false;
  if (run != nullptr) {
    for (const RunKey& key : run->keys) {
      if (key.token != token) continue;
      fate.run = run->run;
      fate.key = state_of(key.state);
      fate.why = key.why;
      put_off = key.state == RunKey::State::kOverdue;
    }
  }
  if (ticket != nullptr && !ticket->overdue_since.empty()) {
    fate.state = State::kOverdue;
    fate.since = ticket->overdue_since;
    fate.why = ticket->overdue_why;
  } else if (put_off && run->state != RunDocument::State::kEnded) {
    fate.state = State::kOverdue;
    fate.since = run->begun;
  } else if (!fate.run.empty() && !put_off) {
    fate.state = State::kInRun;
  } else {
    fate.state = ticket != nullptr ? State::kWaiting : State::kGone;
  }
  return fate;
}

const Ticket* find_ticket(const TicketsSeen& seen, const std::string& token) {
  const auto found = std::find_if(seen.tickets.begin(), seen.tickets.end(),
                                  [&](const auto& one) { return one.ticket.token == token; });
  return found == seen.tickets.end() ? nullptr : &found->ticket;
}

std::optional<RunChange> changed(RunChange::Outcome outcome, std::string run, size_t consumers) {
  RunChange change;
  change.outcome = outcome;
  change.run = std::move(run);
  change.consumers = consumers;
  return change;
}

// Whether a mark of `consumer` on `host` (empty: on every one, or it is named HOST/CONSUMER) means it.
bool means(const std::string& consumer, const std::string& host, const ConsumerReport& one) {
  if (!host.empty()) return one.consumer == consumer && one.host == host;
  return one.consumer == consumer || one.host + "/" + one.consumer == consumer;
}

bool is_marked(const RunReport& report, const ConsumerReport& consumer) {
  return std::any_of(report.consumers.begin(), report.consumers.end(), [&](const auto& one) {
    return one.consumer == consumer.consumer && one.host == consumer.host &&
           one.state == ConsumerState::kMarked;
  });
}

// What came of a mark of consumers. `before`, `after`: the run's reports.
std::optional<RunChange> marked(const std::string& consumer, const std::string& host, size_t count,
                                const RunReport& before, const RunReport& after) {
  using Outcome = RunChange::Outcome;
  auto change = changed(count != 0 ? Outcome::kDone : Outcome::kUnknown, before.run, count);
  for (const ConsumerReport& one : after.consumers) {
    if (!means(consumer, host, one)) continue;
    if (change->outcome == Outcome::kUnknown) change->outcome = Outcome::kNothing;
    if (one.state == ConsumerState::kMarked) {
      if (!is_marked(before, one)) change->marked.push_back(one);
    } else if (one.state != ConsumerState::kOk && one.state != ConsumerState::kGone) {
      change->not_marked.push_back(one);
    }
  }
  const bool left = !change->not_marked.empty();
  if (change->outcome == Outcome::kNothing && left) change->outcome = Outcome::kUnderWay;
  return change;
}

}  // namespace

Task<Result<BoardDesk::Retries>> BoardDesk::retries(TimePoint deadline) {
  auto seen = co_await list_tickets(board_, deadline);
  if (!seen) co_return fail(seen.error());
  Retries all;
  for (const auto& one : seen->tickets) {
    if (one.ticket.kind == Ticket::Kind::kRetry) all.emplace(one.ticket.run, one.ticket.token);
  }
  co_return all;
}

Task<Result<BoardDesk::Page>> BoardDesk::list(std::string after, size_t limit, TimePoint deadline) {
  const auto asked = co_await retries(deadline);
  if (!asked) co_return fail(asked.error());
  const auto runs = co_await list_runs(board_, deadline);
  if (!runs) co_return fail(runs.error());
  Page page;
  if (after.empty()) page.damaged = runs->damaged;
  for (auto run = runs->runs.rbegin(); run != runs->runs.rend(); ++run) {
    if (!after.empty() && run->run >= after) continue;
    if (page.runs.size() == limit) {
      page.next = page.runs.back().run;
      break;
    }
    page.runs.push_back(summary_of(*run, waits(*run, *asked)));
  }
  co_return page;
}

Task<Result<std::optional<RunReport>>> BoardDesk::report(std::string run, TimePoint deadline) {
  // The tickets first: one that is done meanwhile is found in the run.
  const auto asked = co_await retries(deadline);
  if (!asked) co_return fail(asked.error());
  if (run.empty()) {
    const auto runs = co_await list_runs(board_, deadline);
    if (!runs) co_return fail(runs.error());
    if (runs->runs.empty()) co_return std::optional<RunReport>();
    run = runs->runs.back().run;
  }
  const auto view = co_await look_at_run(board_, std::move(run), deadline);
  if (!view) co_return fail(view.error());
  if (!*view) co_return std::optional<RunReport>();
  const RunDocument& document = (*view)->run;
  co_return std::optional<RunReport>(report_of(document, (*view)->sheets, waits(document, *asked)));
}

Task<Result<RunHolder>> BoardDesk::holder(TimePoint deadline) {
  auto there = co_await board_.get(kHeadName, deadline);
  if (!there) co_return fail(there.error());
  if (!*there) co_return RunHolder();
  auto head = parse_head((*there)->text);
  if (!head) co_return fail(head.error());
  co_return RunHolder{std::move(head->holder), head->epoch, head->beat};
}

Task<Result<RunNow>> BoardDesk::now(TimePoint deadline) {
  const auto there = co_await board_.get(kNowName, deadline);
  if (!there) co_return fail(there.error());
  if (!*there) co_return RunNow();
  co_return parse_run_now((*there)->text);
}

Task<Result<RunOutlook>> BoardDesk::outlook(TimePoint deadline) {
  const auto told = co_await now(deadline);
  if (!told) co_return fail(told.error());
  RunOutlook outlook;
  outlook.under_way = !told->run.empty();
  // No host has more than an hour (fs/rotation/settings.cc).
  if (told->settle_ms && *told->settle_ms <= uint64_t{3'600'000}) {
    outlook.settle = std::chrono::milliseconds(*told->settle_ms);
  }
  co_return outlook;
}

Task<Result<std::vector<std::string>>> BoardDesk::waiting(TimePoint deadline) {
  auto seen = co_await list_tickets(board_, deadline);
  if (!seen) co_return fail(seen.error());
  std::set<std::string> ids;  // a key may have been changed several times
  for (const auto& one : seen->tickets) {
    const bool waits = is_of_a_key(one.ticket) && one.ticket.overdue_since.empty();
    if (waits) ids.insert(one.ticket.id);
  }
  co_return std::vector<std::string>(ids.begin(), ids.end());
}

// Notes which runs have taken which tickets, in runs that were not looked at yet.
Task<Result<void>> BoardDesk::find_runs(TimePoint deadline) {
  const auto last = co_await now(deadline);
  if (!last) co_return fail(last.error());
  std::vector<RunDocument> runs;
  if (!found_up_to_ || last->number > *found_up_to_ + kMostByNumber) {
    auto all = co_await list_runs(board_, deadline);
    if (!all) co_return fail(all.error());
    runs = std::move(all->runs);
  } else {
    for (uint64_t number = *found_up_to_ + 1; number <= last->number; ++number) {
      auto run = co_await document(run_of(number), deadline);
      if (!run) co_return fail(run.error());
      if (*run) runs.push_back(std::move(**run));
    }
  }
  for (const RunDocument& run : runs) {
    for (const RunKey& key : run.keys) {
      std::string& last = taken_[key.token];
      last = std::max(last, run.run);
    }
  }
  found_up_to_ = last->number;
  co_return Result<void>();
}

Task<Result<std::optional<RunDocument>>> BoardDesk::document(std::string run, TimePoint deadline) {
  const auto there = co_await board_.get(run_name(run), deadline);
  if (!there) co_return fail(there.error());
  if (!*there) co_return std::optional<RunDocument>();
  auto parsed = parse_run((*there)->text);
  if (!parsed) co_return fail(parsed.error());
  co_return std::optional<RunDocument>(std::move(*parsed));
}

Task<Result<std::vector<TicketFate>>> BoardDesk::fates(std::vector<std::string> tokens,
                                                       TimePoint deadline) {
  // The tickets first: a run that takes one names it before it is removed.
  auto seen = co_await list_tickets(board_, deadline);
  if (!seen) co_return fail(seen.error());
  // Where there are too many to list them all, one that was not seen is not gone.
  const bool maybe_more = seen->tickets.size() >= kMaxTicketsSeen;
  for (size_t place = 0; maybe_more && place < tokens.size(); ++place) {
    const std::string& token = tokens[place];
    if (find_ticket(*seen, token) != nullptr) continue;
    auto there = co_await board_.get(ticket_name(token), deadline);
    if (!there) co_return fail(there.error());
    if (!*there) continue;
    auto ticket = parse_ticket((*there)->text);
    if (ticket && ticket->token == token) {
      seen->tickets.push_back({std::move(*ticket), std::move(**there)});
    }
  }
  if (auto ok = co_await find_runs(deadline); !ok) co_return fail(ok.error());
  std::map<std::string, std::optional<RunDocument>> runs;
  std::vector<TicketFate> fates;
  for (const std::string& token : tokens) {
    const RunDocument* taken_by = nullptr;
    if (const auto taken = taken_.find(token); taken != taken_.end()) {
      const std::string name = taken->second;
      if (!runs.contains(name)) {
        auto read = co_await document(name, deadline);
        if (!read) co_return fail(read.error());
        runs[name] = std::move(*read);
      }
      if (runs[name]) taken_by = &*runs[name];
    }
    fates.push_back(fate_of(token, find_ticket(*seen, token), taken_by));
  }
  co_return fates;
}

// The same token again is the same ticket.
Task<Result<void>> BoardDesk::put(Ticket::Kind kind, std::string run, std::string by,
                                  TimePoint deadline) {
  constexpr int kTries = 3;
  constexpr std::chrono::milliseconds kPause{200};
  std::array<uint8_t, 16> bytes{};
  if (auto ok = random_.fill(bytes); !ok) co_return fail(ok.error());
  Ticket ticket;
  ticket.token = hex_encode(bytes);
  ticket.kind = kind;
  ticket.run = std::move(run);
  ticket.by = short_text(by, kMostBy);
  ticket.asked = to_rfc3339(loop_.clock().wall());
  for (int number = 1;; ++number) {
    const auto there = co_await put_ticket(board_, loop_, random_, ticket, shards_, deadline);
    if (there) co_return Result<void>();
    if (number == kTries || !may_pass(there.error().code) || loop_.now() + kPause >= deadline) {
      co_return fail(there.error());
    }
    co_await loop_.sleep_for(kPause);
  }
}

Task<Result<std::optional<RunChange>>> BoardDesk::retry(std::string run, std::string by,
                                                        TimePoint deadline) {
  using Outcome = RunChange::Outcome;
  const auto there = co_await report(run, deadline);
  if (!there) co_return fail(there.error());
  if (!*there) co_return std::optional<RunChange>();
  const RunSummary summary = (*there)->summary();
  if (!summary.has_ended()) co_return changed(Outcome::kUnderWay, std::move(run), 0);
  const size_t again = summary.counts.failed + summary.counts.unknown + summary.counts.not_tried;
  if (again + summary.counts.not_heard_from == 0) {
    co_return changed(Outcome::kNothing, std::move(run), 0);
  }
  auto asked = co_await put(Ticket::Kind::kRetry, run, std::move(by), deadline);
  if (!asked) co_return fail(asked.error());
  co_return changed(Outcome::kDone, std::move(run), again);
}

Task<Result<std::optional<RunChange>>> BoardDesk::mark_done(std::string run, std::string consumer,
                                                            std::string host, std::string by,
                                                            TimePoint deadline) {
  using Outcome = RunChange::Outcome;
  const auto there = co_await report(run, deadline);
  if (!there) co_return fail(there.error());
  if (!*there) co_return std::optional<RunChange>();
  // "HOST/" is the host itself: a consumer may have the name of a host.
  std::string whom = host.empty() ? consumer : host + "/" + consumer;
  const auto count =
      co_await keyfs::mark_done(board_, loop_, run, whom, short_text(by, kMostBy), deadline);
  if (!count) co_return fail(count.error());
  // As it is now: what was under way may have ended since.
  const auto now = co_await report(run, deadline);
  if (!now) {
    const std::string so_far = std::to_string(*count) + " marked, and what is left is not known";
    co_return fail(*count == 0 ? now.error() : now.error().within(so_far));
  }
  if (!*now) co_return std::optional<RunChange>();
  if (!consumer.empty()) co_return marked(consumer, host, *count, **there, **now);
  if (*count != 0) co_return changed(Outcome::kDone, std::move(run), *count);
  const auto& all = (*now)->consumers;
  const bool heard =
      std::any_of(all.begin(), all.end(), [&](const auto& one) { return one.host == host; });
  if (heard) co_return changed(Outcome::kHeard, std::move(run), 0);
  const auto of_run = co_await document(run, deadline);
  if (!of_run) co_return fail(of_run.error());
  const bool excused = *of_run && (*of_run)->excused.contains(host);
  co_return changed(excused ? Outcome::kNothing : Outcome::kUnknown, std::move(run), 0);
}

Task<Result<std::optional<RunChange>>> BoardDesk::stop(std::string run, std::string by,
                                                       TimePoint deadline) {
  using Outcome = RunChange::Outcome;
  const auto there = co_await report(run, deadline);
  if (!there) co_return fail(there.error());
  if (!*there) co_return std::optional<RunChange>();
  const RunState state = (*there)->state;
  const bool over = (*there)->summary().has_ended() || state == RunState::kStopping;
  if (over) co_return changed(Outcome::kNothing, std::move(run), 0);
  auto asked = co_await put(Ticket::Kind::kStop, run, std::move(by), deadline);
  if (!asked) co_return fail(asked.error());
  co_return changed(Outcome::kDone, std::move(run), 0);
}

}  // namespace keyfs
