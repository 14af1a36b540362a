// One consumer of this host is told.
#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "base/retry.h"
#include "fs/rotation/agent.h"
#include "store/board_update.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Backoff kReportAgain{1s, 30s};
constexpr const char* kSectionChanged =
    "its section in keyfs.ini, or one before it, was changed after this run had begun: programs "
    "that "
    "it fitted then may not be told; tell them by hand, or put it back, and retry";

}  // namespace

std::vector<KeyVersion> HostAgent::keys_of(const Row& row) const {
  std::vector<KeyVersion> keys;
  if (!document_) return keys;
  std::set<std::string_view> ids;
  for (const uint32_t place : row.keys) {
    if (place < document_->keys.size()) ids.insert(document_->keys[place].id);
  }
  for (const size_t place : places_told(document_->keys)) {
    const RunKey& key = document_->keys[place];
    if (ids.contains(key.id)) keys.push_back({key.id, key.current});
  }
  return keys;
}

// Changes the row, whatever happens to the others of its sheet meanwhile.
Task<Result<bool>> HostAgent::change_row(std::string sheet, std::string consumer,
                                         ChangeRow change) {
  bool changed = false;
  std::optional<Sheet> last;
  ChangeDocument edit = [&](const BoardDocument* there) -> Result<std::optional<std::string>> {
    changed = false;
    last.reset();
    if (there == nullptr) return std::nullopt;
    auto parsed = parse_sheet(there->text);
    if (!parsed) return fail(parsed.error());
    Row* row = parsed->find(consumer);
    changed = row != nullptr && change(*row);
    last = std::move(*parsed);
    if (!changed) return std::nullopt;
    return to_text(*last);
  };
  auto done =
      co_await update_document(board_, loop_, sheet, std::move(edit), loop_.now() + options_.call);
  if (!done) co_return fail(done.error());
  if (last && sheets_.contains(sheet)) sheets_[sheet] = std::move(*last);
  co_return changed;
}

Task<bool> HostAgent::tell(Errand errand) {
  // Whatever way it ends, the next look may take the row up again.
  struct Leave {
    HostAgent& agent;
    std::string which;
    ~Leave() {
      agent.running_.erase(which);
      agent.wake_.set();
    }
  } leave{*this, errand.sheet + " " + errand.consumer};

  const Row* row = sheets_[errand.sheet].find(errand.consumer);
  if (row == nullptr) co_return false;
  RefreshRequest request;
  request.run = run_;
  request.host = host_;
  request.consumer = errand.consumer;
  request.keys = keys_of(*row);
  request.timeout = row->timeout;
  const Row enrolled = *row;

  Result<void> proven;
  if (errand.consumer == kUnknownPrograms) {
    proven = fail(Code::kInvalid, unknown_programs({}, {}).why);  // there is nobody to tell
  } else {
    proven = co_await prove(request.keys);
  }
  if (!proven) {
    const std::string why = proven.error().message;
    const std::string at = now();
    const ChangeRow fail_it = [&](Row& one) {
      return fail_order(one, errand.epoch, errand.attempt, why, at);
    };
    auto failed = co_await change_row(errand.sheet, errand.consumer, fail_it);
    if (!failed) co_await loop_.sleep_for(1s);
    co_return false;
  }

  // The order must be of whoever holds the lock now: read after the order, so that one that a
  // predecessor gives after its end is seen through.
  auto of_the_lock = co_await is_of_the_lock(errand.epoch);
  if (!of_the_lock || !*of_the_lock) {
    co_await loop_.sleep_for(1s);
    co_return false;
  }

  // From here on the hook counts as begun. Where the answer was lost, the row itself tells.
  const std::string begun = now();
  bool claimed = false;
  const ChangeRow claim = [&](Row& one) {
    claimed = one.state == RowState::kStarted && one.life == options_.life &&
              one.attempt == errand.attempt && one.begun == begun;
    if (claimed) return false;
    return start(one, errand.epoch, errand.attempt, options_.life, begun);
  };
  for (unsigned tries = 0;; ++tries) {
    auto changed = co_await change_row(errand.sheet, errand.consumer, claim);
    if (changed) {
      if (!*changed && !claimed) co_return false;  // it was taken back, or ordered anew
      break;
    }
    // It may have taken effect, so that nobody else would report it.
    co_await loop_.sleep_for(kReportAgain.longest(tries));
  }

  // Also if it changes while the hook runs: who has to confirm it is then asked of the new one.
  std::string section_now = consumers_.section_of(errand.consumer);
  bool changed = !enrolled.tells_those_of(section_now);
  RefreshOutcome outcome;
  const bool begun_hook = !changed;
  if (begun_hook) {
    ++hooks_;
    outcome = co_await refresher_.refresh(request);
    section_now = consumers_.section_of(errand.consumer);
    changed =
        outcome.what != RefreshOutcome::What::kFailed && !enrolled.tells_those_of(section_now);
  }
  if (changed) {
    outcome.what = RefreshOutcome::What::kFailed;
    outcome.why = kSectionChanged;
  } else {
    section_now.clear();
  }
  if (begun_hook) ++outcomes_[outcome.what];
  const RowState state = outcome.what == RefreshOutcome::What::kOk     ? RowState::kOk
                         : outcome.what == RefreshOutcome::What::kGone ? RowState::kGone
                                                                       : RowState::kFailed;
  if (state == RowState::kFailed) {
    log_.warn("a consumer could not be told of new keys",
              {{"run", request.run}, {"consumer", errand.consumer}, {"reason", outcome.why}});
  }
  co_await report(errand, state, outcome.why, section_now);
  co_return true;
}

// That this host serves the new versions, by its own cache.
Task<Result<void>> HostAgent::prove(const std::vector<KeyVersion>& keys) {
  const TimePoint until = loop_.now() + options_.prove_for;
  for (const KeyVersion& key : keys) {
    for (;;) {
      auto serves = co_await keys_.serves(key, until);
      if (serves && *serves) break;
      if (loop_.now() >= until) {
        std::string why = "this host does not serve version " + std::to_string(key.version) +
                          " of " + key.id + " yet: the hook was not run";
        if (!serves) why += " (" + serves.error().message + ")";
        co_return fail(Code::kTimeout, std::move(why));
      }
      co_await loop_.sleep_until(std::min(until, loop_.now() + options_.prove_every));
    }
  }
  co_return Result<void>();
}

Task<Result<bool>> HostAgent::is_of_the_lock(uint64_t epoch) {
  auto there = co_await board_.get(kHeadName, loop_.now() + options_.call);
  if (!there) co_return fail(there.error());
  if (!*there) co_return false;
  const auto head = parse_head((*there)->text);
  if (!head) co_return fail(head.error());
  epoch_ = std::max(epoch_, head->epoch);
  const bool of_the_lock = head->epoch == epoch && epoch == epoch_;
  co_return of_the_lock;
}

// Again and again, since nobody else can tell.
Task<void> HostAgent::report(Errand errand, RowState state, std::string why,
                             std::string section_now) {
  const std::string ended = now();
  const ChangeRow end = [&](Row& one) {
    if (!finish(one, errand.attempt, options_.life, state, why, ended)) return false;
    if (!section_now.empty()) one.section_now = section_now;
    return true;
  };
  for (unsigned tries = 0;; ++tries) {
    auto reported = co_await change_row(errand.sheet, errand.consumer, end);
    if (reported) {
      not_reported_.over();
      co_return;
    }
    not_reported_.is(reported.error(), errand.consumer);
    co_await loop_.sleep_for(kReportAgain.longest(tries));
  }
}

}  // namespace keyfs
