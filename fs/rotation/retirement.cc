#include "fs/rotation/retirement.h"

#include <algorithm>
#include <utility>

#include "fs/rotation/runs.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAfterAnError = 30s;
// Runs are looked at for what a crash has left out of the notes.
constexpr Duration kLookAtRunsEvery = 1h;

std::chrono::milliseconds in_ms(Duration time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time);
}

bool is_whole(const Version& version, const std::vector<std::string>& regions) {
  return std::all_of(regions.begin(), regions.end(),
                     [&](const std::string& region) { return version.wrapped.contains(region); });
}

void make_earlier(std::optional<WallTime>& next, WallTime at) {
  next = next ? std::min(*next, at) : at;
}

}  // namespace

Retirement::Retirement(Loop& loop, Store& store, Board& board, Log& log, const Tenure& tenure,
                       Retirer& retirer, RetirementOptions options)
    : loop_(loop),
      store_(store),
      board_(board),
      log_(log),
      tenure_(tenure),
      retirer_(retirer),
      options_(std::move(options)),
      not_looked_(
          loop, log,
          "old versions that are to be retired could not all be looked at, and will be again",
          "old versions that are to be retired are looked at again") {}

Task<bool> Retirement::work() {
  if (!options_.shortest) co_return true;
  const Duration look_every =
      std::clamp<Duration>(*options_.shortest / 20, options_.look_least, options_.look_most);
  next_runs_ = {};
  for (;;) {
    Duration pause = look_every;
    const auto next = co_await look();
    if (!next) {
      not_looked_.is(next.error());
      pause = std::min(pause, kAfterAnError);
    } else if (not_looked_.over(); *next) {
      pause = std::clamp<Duration>(**next - loop_.clock().wall(), 100ms, pause);
    }
    co_await loop_.sleep_for(pause);
  }
}

Result<void> Retirement::may_act() const {
  if (tenure_.may_act()) return {};
  return fail(Code::kUnavailable, "this host may not act for the others any more");
}

// When the next of them is due; nullopt: none that is known.
Task<Result<std::optional<WallTime>>> Retirement::look() {
  auto found = co_await candidates();
  if (!found) co_return fail(found.error());
  std::optional<WallTime> next;
  for (auto& [id, candidate] : *found) {
    if (auto ok = may_act(); !ok) co_return fail(ok.error());
    auto taken = co_await take_up(std::move(candidate), next);
    if (taken) continue;
    // The others are not to wait for it.
    log_.warn("old versions of a key could not be retired now, and will be later",
              {{"id", id}, {"reason", taken.error().message}});
  }
  co_return next;
}

// By id. What a later run has said counts.
Task<Result<std::map<std::string, Retirement::Candidate>>> Retirement::candidates() {
  // The runs first: one that is removed meanwhile was noted before.
  if (loop_.now() >= next_runs_) {
    if (auto ok = co_await look_at_runs(); !ok) co_return fail(ok.error());
    next_runs_ = loop_.now() + kLookAtRunsEvery;
  }
  std::map<std::string, Candidate> all;
  std::string after;
  for (;;) {
    auto page = co_await board_.list(kRetirePrefix, after, kMaxBoardPage, until());
    if (!page) co_return fail(page.error());
    for (BoardDocument& document : page->documents) {
      auto note = parse_retire_note(document.text);
      if (!note || retire_name(note->id) != document.name) {
        log_.warn("what is on the board says nothing of old versions, and is left alone",
                  {{"name", document.name}});
        continue;
      }
      const std::string id = note->id;
      all[id] = {std::move(*note), std::move(document)};
    }
    if (!page->next) break;
    after = std::move(*page->next);
  }
  for (const RetireWord& word : words_) {
    const auto known = all.find(word.note.id);
    if (known != all.end() && !is_later_run(word.note.run, known->second.note.run)) continue;
    if (word.whole) {
      all[word.note.id] = {word.note};
    } else if (known != all.end()) {
      all.erase(known);
    }
  }
  std::erase_if(done_, [&](const auto& one) { return !all.contains(one.first); });
  co_return all;
}

Task<Result<void>> Retirement::look_at_runs() {
  auto runs = co_await list_runs(board_, until());
  if (!runs) co_return fail(runs.error());
  // It might say that consumers were not told.
  if (!runs->damaged.empty()) {
    co_return fail(Code::kCorrupt,
                   "the document of " + runs->damaged.front() + " on the board is damaged");
  }
  words_.clear();
  for (const RunDocument& run : runs->runs) {
    for (RetireWord& word : retire_words(run)) words_.push_back(std::move(word));
  }
  co_return Result<void>();
}

Task<Result<void>> Retirement::take_up(Candidate candidate, std::optional<WallTime>& next) {
  const RetireNote& note = candidate.note;
  if (!candidate.document && done_.contains(note.id) && done_.at(note.id) == note.run) {
    co_return Result<void>();
  }
  const auto after = options_.after(note.id);
  const auto since = from_rfc3339(note.since);
  if (!after || !since) co_return Result<void>();
  if (const WallTime due = *since + in_ms(*after); loop_.clock().wall() < due) {
    make_earlier(next, due);
    co_return Result<void>();
  }
  auto outcome = co_await retire(candidate, *after, next);
  if (!outcome) co_return fail(outcome.error());
  if (*outcome == Outcome::kLater) co_return Result<void>();
  if (candidate.document) {
    if (auto ok = co_await remove(std::move(*candidate.document)); !ok) co_return ok;
  }
  done_[note.id] = note.run;
  co_return Result<void>();
}

Task<Result<Retirement::Outcome>> Retirement::retire(const Candidate& candidate, Duration after,
                                                     std::optional<WallTime>& next) {
  const RetireNote& note = candidate.note;
  auto found = co_await store_.get(note.id, Read::kStrong, until());
  if (!found) co_return fail(found.error());
  if (!*found) co_return Outcome::kSuperseded;
  const Record& record = (*found)->record;
  const auto current = record.versions.find(record.current);
  if (record.state == KeyState::kDeleted || record.from_rkms || record.current != note.version ||
      current == record.versions.end()) {
    co_return Outcome::kSuperseded;
  }
  // A note is still there if whoever retired them died before the others were told.
  if (record.min >= note.version && !candidate.document) co_return Outcome::kDone;
  if (record.state != KeyState::kEnabled) co_return Outcome::kLater;
  const Version& version = current->second;
  if (const auto promoted = from_rfc3339(version.promoted)) {
    if (const WallTime due = *promoted + in_ms(after); loop_.clock().wall() < due) {
      make_earlier(next, due);
      co_return Outcome::kLater;
    }
  }
  if (!is_whole(version, options_.regions)) co_return Outcome::kLater;
  if (auto ok = may_act(); !ok) co_return fail(ok.error());
  auto retired = co_await retirer_.retire(note.id, note.version);
  if (!retired) co_return fail(retired.error());
  if (retired->before != retired->after) {
    log_.info("old versions of a key are retired",
              {{"id", note.id}, {"below", retired->after}, {"run", note.run}});
  }
  co_return Outcome::kDone;
}

Task<Result<void>> Retirement::remove(BoardDocument document) {
  if (auto ok = may_act(); !ok) co_return ok;
  auto removed = co_await board_.remove(document.name, document.revision, until());
  if (!removed) co_return fail(removed.error());
  co_return Result<void>();  // one that was changed meanwhile is looked at again
}

}  // namespace keyfs
