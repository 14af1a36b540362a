#include "fs/rotation/agent.h"

#include <algorithm>
#include <utility>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAfterAnError = 2s;
// A run is looked at so often even if nothing tells of it.
constexpr Duration kReadRunEvery = 60s;
// At the own document, while a board tells only that something has changed.
constexpr Duration kLookAfterGaps = 30s;

// The hook's program ends with keyfs; its children do not (fs/rotation/hook_start.h).
constexpr const char* kInterrupted =
    "interrupted: keyfs ended while the hook was running; what the hook has started may be running "
    "still: look before you retry";

}  // namespace

HostAgent::HostAgent(Loop& loop, Board& board, Log& log, HostConsumers& consumers, HostKeys& keys,
                     Refresher& refresher, AgentOptions options)
    : loop_(loop),
      board_(board),
      log_(log),
      consumers_(consumers),
      keys_(keys),
      refresher_(refresher),
      options_(std::move(options)),
      identity_(options_.identity),
      host_(host_name_of(options_.host, identity_)),
      wake_(loop),
      no_part_(loop, log, "this host cannot take part in a rotation now, and tries again",
               "this host takes part in rotations again"),
      not_listed_(loop, log,
                  "this host could not be listed on the board, and tries again: if it is not, "
                  "rotations do not wait for it",
                  "this host is listed on the board again"),
      not_reported_(loop, log,
                    "how a consumer took new keys could not be reported, and will be again",
                    "how consumers took new keys is reported again"),
      register_wake_(loop),
      known_at_start_(consumers.keys_known()) {}

void HostAgent::on_pulse(const Pulse& pulse) {
  // The run that this host takes part in may have ended; one that has may have been begun again.
  if (wanted_ != pulse.run || !pulse.run.empty()) {
    read_run_ = {};
    wake_.set();
  }
  wanted_ = pulse.run;
  expect_marks("");
}

void HostAgent::on_board(const std::string& name) {
  const bool may_be_ours = name.empty() && loop_.now() >= looked_ + kLookAfterGaps;
  if (may_be_ours || name == host_document_name(host_)) {
    doubted_ = true;
    register_wake_.set();
  }
  expect_marks(name);
  if (run_.empty()) return;
  if (name.empty() || name.starts_with(sheets_of(run_, host_))) wake_.set();
}

// Runs there have the names of others, and epochs begin anew; nobody is listed.
void HostAgent::on_new_board() {
  new_board_ = true;
  epoch_ = 0;
  for (auto& [id, run] : lost_) run.clear();
  doubted_ = true;
  register_wake_.set();
  wake_.set();
}

void HostAgent::on_consumers_changed() {
  changed_ = true;
  register_wake_.set();
}

HostAgent::Status HostAgent::status() const {
  Status status;
  status.run = over_ ? std::string() : run_;
  for (const auto& [name, sheet] : sheets_) status.consumers += sheet.rows.size();
  status.running = running_.size();
  status.hooks = hooks_;
  status.outcomes = outcomes_;
  if (!status.run.empty() && document_) status.keys = keys_told(document_->keys);
  if (!parted_.empty()) {
    status.troubles.push_back(
        "since " + parted_ + " another daemon is known to run with a copy of this one's state_dir");
  }
  if (identity_.marked) status.name_taken = options_.host;
  if (lost_all_ || !lost_.empty()) {
    status.troubles.push_back(
        "this host does not know all programs that use " +
        (lost_all_ ? std::string("its keys") : std::to_string(lost_.size()) + " of its keys") +
        ": rotations of these are not complete until " + kUnknownPrograms +
        " is marked as done on this host");
  }
  return status;
}

TimePoint HostAgent::next_look() const {
  if (run_.empty() || over_) return loop_.now() + kReadRunEvery;
  return loop_.now() + (document_ ? sheet_poll(document_->hosts) : Duration(1s));
}

Task<void> HostAgent::run() {
  TaskGroup<bool> tasks(loop_);
  tasks_ = &tasks;
  tasks.start(keep_registered());
  for (;;) {
    auto looked = co_await look();
    looked ? no_part_.over() : no_part_.is(looked.error(), run_);
    while (co_await tasks.next(loop_.now())) {
    }
    co_await wake_.wait(looked ? next_look() : loop_.now() + kAfterAnError);
  }
}

void HostAgent::join(const std::string& run) {
  run_ = run;
  document_.reset();
  enrolled_ = false;
  over_ = false;
  sheets_.clear();
  revisions_.clear();
  read_run_ = {};
}

Task<Result<void>> HostAgent::look() {
  if (new_board_ && running_.empty()) {
    new_board_ = false;
    join("");
  }
  if (left_) co_return Result<void>();
  if (!wanted_.empty() && wanted_ != run_ && running_.empty()) join(wanted_);
  if (run_.empty()) co_return Result<void>();
  // What this host has enrolled, or an earlier life of it, is on the board.
  if (read_run_ == TimePoint{} || loop_.now() >= read_run_ + kReadRunEvery || !document_) {
    auto there = co_await board_.get(run_name(run_), loop_.now() + options_.call);
    if (there && !*there) co_return Result<void>();
    Result<RunDocument> document = RunDocument();
    if (there) {
      document = parse_run((*there)->text);
    } else {
      document = fail(there.error());
    }
    if (!document && document.error().code == Code::kCorrupt && over_ && running_.empty()) {
      // It has ended: there is nothing to take part in, and it cannot be begun again.
      read_run_ = loop_.now();
      co_return Result<void>();
    }
    if (!document) co_return fail(document.error());
    read_run_ = loop_.now();
    const bool keys_known = document->state != RunDocument::State::kRotating;
    over_ = document->state == RunDocument::State::kEnded;
    document_ = std::move(*document);
    if (!keys_known) document_.reset();
  }
  if (!document_ || (over_ && enrolled_ && running_.empty())) co_return Result<void>();
  if (!enrolled_) {
    if (auto ok = co_await enrol(); !ok) co_return ok;
  }
  std::vector<std::string> names;
  for (const auto& [name, sheet] : sheets_) names.push_back(name);
  for (const std::string& name : names) {
    if (auto ok = co_await look_at_sheet(name); !ok) co_return ok;
  }
  co_return Result<void>();
}

Task<Result<void>> HostAgent::look_at_sheet(std::string name) {
  // It has another name since.
  if (!name.starts_with(sheets_of(run_, host_))) co_return Result<void>();
  auto there = co_await board_.get(name, loop_.now() + options_.call);
  if (!there) co_return fail(there.error());
  if (!name.starts_with(sheets_of(run_, host_))) co_return Result<void>();
  if (!*there) {
    sheets_.erase(name);
    co_return Result<void>();
  }
  // As it is here already, or as this host has changed it since, which has made another revision.
  if (revisions_[name] != (*there)->revision || !sheets_.contains(name)) {
    auto parsed = parse_sheet((*there)->text);
    if (!parsed) co_return fail(parsed.error());
    sheets_[name] = std::move(*parsed);
    revisions_[name] = (*there)->revision;
  }
  const Sheet sheet = sheets_[name];
  for (const Row& row : sheet.rows) {
    const std::string which = name + " " + row.consumer;
    if (running_.contains(which)) continue;
    if (row.state == RowState::kOrdered) {
      epoch_ = std::max(epoch_, row.epoch);
      if (row.epoch < epoch_) continue;
      running_.insert(which);
      Errand errand{name, row.consumer, row.epoch, row.attempt};
      tasks_->start(tell(std::move(errand)));
    }
    // An earlier life of this daemon has begun it, and did not get to its end; but in a sheet of
    // this life there is none.
    if (row.state == RowState::kStarted && row.life != options_.life) {
      if (!sheet.instance.empty() && sheet.life == options_.life) {
        co_await part({});
        co_return Result<void>();
      }
      const uint32_t attempt = row.attempt;
      const std::string life = row.life;
      const std::string at = now();
      const ChangeRow interrupt = [&](Row& one) {
        return finish(one, attempt, life, RowState::kFailed, kInterrupted, at);
      };
      auto changed = co_await change_row(name, row.consumer, interrupt);
      if (!changed) co_return fail(changed.error());
    }
  }
  co_return Result<void>();
}

}  // namespace keyfs
