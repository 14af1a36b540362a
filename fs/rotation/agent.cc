#include "fs/rotation/agent.h"

#include <algorithm>
#include <utility>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAfterAnError = 2s;
// A run is looked at so often even if nothing tells of it.
constexpr Duration kReadRunEvery = 60s;

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
      wake_(loop),
      register_wake_(loop) {}

void HostAgent::on_pulse(const Pulse& pulse) {
  // The run that this host takes part in may have ended; one that has may have been begun again.
  if (wanted_ != pulse.run || !pulse.run.empty()) {
    read_run_ = {};
    wake_.set();
  }
  wanted_ = pulse.run;
}

void HostAgent::on_board(const std::string& name) {
  if (run_.empty()) return;
  if (name.empty() || name.starts_with(sheets_of(run_, options_.host))) wake_.set();
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
  if (!status.run.empty() && document_) status.keys = document_->keys;
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
    if (!looked) {
      log_.warn("this host cannot take part in a rotation now, and tries again",
                {{"run", run_}, {"reason", looked.error().message}});
    }
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
  if (!wanted_.empty() && wanted_ != run_ && running_.empty()) join(wanted_);
  if (run_.empty()) co_return Result<void>();
  // What this host has enrolled, or an earlier life of it, is on the board.
  if (read_run_ == TimePoint{} || loop_.now() >= read_run_ + kReadRunEvery || !document_) {
    auto there = co_await board_.get(run_name(run_), loop_.now() + options_.call);
    if (!there) co_return fail(there.error());
    if (!*there) co_return Result<void>();
    auto document = parse_run((*there)->text);
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

// Puts the sheets of this host, or finds those that it has put before.
Task<Result<void>> HostAgent::enrol() {
  auto page = co_await board_.list(sheets_of(run_, options_.host), "", kMaxBoardPage,
                                   loop_.now() + options_.call);
  if (!page) co_return fail(page.error());
  for (const BoardDocument& document : page->documents) {
    auto sheet = parse_sheet(document.text);
    if (!sheet) co_return fail(sheet.error());
    sheets_[document.name] = std::move(*sheet);
  }
  if (sheets_.contains(sheet_name(run_, options_.host, 0))) enrolled_ = true;
  // Too late; unless it is begun again.
  if (enrolled_ || over_) co_return Result<void>();
  std::vector<KeyVersion> keys;
  std::set<std::string> ids;
  for (const RunKey& key : document_->keys) {
    // One that was not rotated has no version that anybody could lack.
    keys.push_back({key.id, key.state == RunKey::State::kCurrent ? key.current : 0});
    if (key.state == RunKey::State::kCurrent) ids.insert(key.id);
  }
  std::vector<Sheet> sheets(1);
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
    row.attempt = document_->attempt;
    if (sheets.back().rows.size() == kMaxRows) sheets.emplace_back();
    sheets.back().rows.push_back(std::move(row));
  }
  // A host that nobody waits for and that has nothing to enrol says nothing.
  const bool is_awaited = !registered_ || std::any_of(ids.begin(), ids.end(), [&](const auto& id) {
    return registered_->contains(id);
  });
  if (sheets[0].rows.empty() && !is_awaited) {
    enrolled_ = true;
    co_return Result<void>();
  }
  for (size_t page_of = sheets.size(); page_of-- > 0;) {
    Sheet& sheet = sheets[page_of];
    sheet.run = run_;
    sheet.host = options_.host;
    sheet.page = static_cast<uint32_t>(page_of);
    const std::string name = sheet_name(run_, options_.host, sheet.page);
    auto put = co_await board_.put_if_absent(name, to_text(sheet), loop_.now() + options_.call);
    if (!put) co_return fail(put.error());
    // One that is there is of an earlier try, and may have other rows.
    auto now = put->now ? parse_sheet(put->now->text) : Result<Sheet>(sheet);
    if (!now) co_return fail(now.error());
    sheets_[name] = std::move(*now);
  }
  enrolled_ = true;
  co_return Result<void>();
}

Task<Result<void>> HostAgent::look_at_sheet(std::string name) {
  auto there = co_await board_.get(name, loop_.now() + options_.call);
  if (!there) co_return fail(there.error());
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
    // An earlier life of this daemon has begun it, and did not get to its end.
    if (row.state == RowState::kStarted && row.life != options_.life) {
      const uint32_t attempt = row.attempt;
      const std::string life = row.life;
      const std::string at = now();
      const ChangeRow interrupt = [&](Row& one) {
        return finish(one, attempt, life, RowState::kFailed,
                      "interrupted: keyfs ended while the hook was running", at);
      };
      auto changed = co_await change_row(name, row.consumer, interrupt);
      if (!changed) co_return fail(changed.error());
    }
  }
  co_return Result<void>();
}

// --- that this host is listed on the board ---

Task<bool> HostAgent::keep_registered() {
  TimePoint next = loop_.now();
  for (;;) {
    const bool due = loop_.now() >= next;
    if (changed_ || due) {
      // Several consumers come together when a host starts.
      if (changed_) co_await loop_.sleep_for(options_.register_after);
      changed_ = false;
      auto registered = co_await register_host(due);
      if (!registered) {
        changed_ = true;
        log_.warn(
            "this host could not be listed on the board, and tries again: if it is not, "
            "rotations do not wait for it",
            {{"reason", registered.error().message}});
      }
      if (!registered) {
        next = loop_.now() + 10 * kAfterAnError;
      } else if (due) {
        next = loop_.now() + options_.register_every;
      }
    }
    co_await register_wake_.wait(changed_ ? loop_.now() + 10 * kAfterAnError : next);
  }
}

// `due`: also if the board has it as it is.
Task<Result<void>> HostAgent::register_host(bool due) {
  const std::set<std::string> keys = consumers_.keys_in_use();
  if (!due && registered_ == keys) co_return Result<void>();
  if (keys.empty() && (!registered_ || registered_->empty())) {
    // An earlier life of this daemon may have had some.
    if (registered_) co_return Result<void>();
  }
  const std::string name = host_document_name(options_.host);
  auto there = co_await board_.get(name, loop_.now() + options_.call);
  if (!there) co_return fail(there.error());
  if (keys.empty()) {
    if (*there) {
      auto removed = co_await board_.remove(name, (*there)->revision, loop_.now() + options_.call);
      if (!removed) co_return fail(removed.error());
    }
    registered_ = keys;
    co_return Result<void>();
  }
  HostEntry entry;
  entry.host = options_.host;
  entry.keys = keys;
  entry.at = now();
  auto writing =
      *there ? board_.replace(name, to_text(entry), (*there)->revision, loop_.now() + options_.call)
             : board_.put_if_absent(name, to_text(entry), loop_.now() + options_.call);
  auto written = co_await std::move(writing);
  if (!written) co_return fail(written.error());
  if (!written->done) co_return fail(Code::kUnavailable, "another daemon uses this host's name");
  registered_ = keys;
  co_return Result<void>();
}

}  // namespace keyfs
