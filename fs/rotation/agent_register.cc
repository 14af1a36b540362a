// That this host is listed on the board, as the one that it is.
#include <algorithm>
#include <utility>

#include "fs/rotation/agent.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAfterAnError = 20s;
constexpr Duration kTurnWait = 20ms;
constexpr Duration kLookAtMarks = 5s;  // while the board tells only that something has changed
constexpr int kTries = 4;  // its name, a marked one, and again where others write meanwhile

constexpr const char* kListLost =
    "this host has lost its list of programs that use it; mark it as done once they were told";
constexpr const char* kListShared =
    "another daemon had a copy of this host's state_dir: programs of either may not have been "
    "told; "
    "mark it as done once they were";

// Whether they are all named in a host's document.
bool fit_in(const std::set<std::string>& keys) {
  HostEntry entry;
  entry.host = "h";
  entry.keys = keys;
  const auto read = parse_host(to_text(entry));
  return read && read->keys;
}

}  // namespace

Task<bool> HostAgent::keep_registered() {
  TimePoint rewrite = loop_.now();
  TimePoint look = rewrite;
  bool looked = false;
  for (;;) {
    bool failed = false;
    const bool due = loop_.now() >= rewrite;
    const bool looks = loop_.now() >= look;
    if (changed_ || doubted_ || due || looks) {
      // Several consumers come together when a host starts. Those that an earlier life has known are
      // listed at once: it may have been killed before it had told of the last of them.
      const bool at_once = !looked && !keys_to_list().empty();
      if (changed_ && !at_once) co_await loop_.sleep_for(options_.register_after);
      looked = true;
      // That a consumer has opened another version changes nothing here.
      bool as_listed = !due && !doubted_ && registered_ == keys_to_list();
      changed_ = false;
      doubted_ = false;
      if (as_listed && looks) as_listed = co_await is_as_listed();
      Result<void> registered;
      if (!as_listed) registered = co_await register_host(due);
      failed = !registered;
      if (!registered) {
        doubted_ = true;
        not_listed_.is(registered.error());
      } else {
        not_listed_.over();
        if (looks || !as_listed) look = loop_.now() + options_.look_every;
        if (due) rewrite = loop_.now() + options_.register_every;
      }
    }
    if (marks_due_ && loop_.now() >= marks_looked_ + kLookAtMarks) {
      // Where the list could not be read, the next pulse is a reason to look again.
      if (auto looked = co_await look_at_marks(); !looked) doubted_ = failed = true;
    }
    TimePoint next = failed ? loop_.now() + kAfterAnError : std::min(rewrite, look);
    if (marks_due_) next = std::min(next, marks_looked_ + kLookAtMarks);
    co_await register_wake_.wait(next);
  }
}

// By the cheapest look.
Task<bool> HostAgent::is_as_listed() {
  if (registered_ && registered_->empty()) co_return true;
  const auto there = co_await board_.peek(host_document_name(host_), loop_.now() + options_.call);
  if (!there || !*there) co_return false;
  const auto entry = parse_host((*there)->text);
  co_return entry && entry->life == options_.life && entry->instance == identity_.instance;
}

std::set<std::string> HostAgent::keys_to_list() const {
  std::set<std::string> keys = consumers_.keys_in_use();
  for (const auto& [id, run] : lost_) keys.insert(id);
  return keys;
}

bool HostAgent::is_listed_with(const std::set<std::string>& ids) const {
  if (lost_all_) return true;
  return registered_ && std::any_of(ids.begin(), ids.end(), [&](const std::string& id) {
           return registered_->contains(id);
         });
}

// `due`: written anew also if the board has it as it is.
Task<Result<void>> HostAgent::register_host(bool due) {
  while (registering_) co_await loop_.sleep_for(kTurnWait);
  struct Turn {
    explicit Turn(bool& on) : flag(on) { flag = true; }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() { flag = false; }
    bool& flag;
  } turn(registering_);
  for (int tries = 0; tries < kTries; ++tries) {
    auto done = co_await register_once(due);
    if (!done) co_return fail(done.error());
    if (*done) co_return Result<void>();
  }
  co_return fail(Code::kUnavailable, "another daemon uses this host's name");
}

// False: what is there is another's, or has changed meanwhile. Again, by the name that it has now.
Task<Result<bool>> HostAgent::register_once(bool due) {
  if (left_) {
    // A program may have come since: one that works in a directory of the mount that is gone.
    const OtherLife other = co_await other_life();
    if (other == OtherLife::kSuccessor) co_return true;
    if (left_) part_from_successor();
  }
  const bool none = keys_to_list().empty() && !lost_all_;
  // One that has no consumers looks once: an earlier life of it may have had some.
  if (none && registered_ && registered_->empty()) co_return true;
  const std::string host = host_;
  const std::string name = host_document_name(host);
  looked_ = loop_.now();
  auto there = co_await board_.get(name, loop_.now() + options_.call);
  if (!there) co_return fail(there.error());
  if (host != host_) co_return false;
  std::optional<HostEntry> found;
  if (*there) {
    auto parsed = parse_host((*there)->text);
    if (parsed) found = std::move(*parsed);  // what is damaged is written anew
  }
  if (found && !found->instance.empty() && !identity_.instance.empty()) {
    if (found->instance != identity_.instance) {
      if (none) {
        // Nothing to list, so that the name need not be its own.
        registered_.emplace();
        anothers_ = true;
        co_return true;
      }
      step_aside();
      co_return false;
    }
    if (found->life != options_.life) {
      // An earlier life of this daemon; what was written before that is of a restored backup. But one
      // that had nothing to list until now may have a successor.
      bool is_later = listed_ && found->turn >= turn_;
      if (!listed_) {
        const OtherLife other = co_await other_life();
        is_later = other != OtherLife::kCopy;
        if (host != host_ || left_) co_return false;
      }
      if (is_later) {
        co_await part(found->keys.value_or(std::set<std::string>()));
        co_return false;
      }
      if (!listed_) {
        turn_ = found->turn + 1;
        find_lost(*found);
      }
    }
  }

  anothers_ = false;
  HostEntry entry;
  entry.host = host;
  entry.instance = identity_.instance;
  if (!entry.instance.empty()) {
    entry.life = options_.life;
    entry.turn = turn_;
  }
  const std::set<std::string> listed = keys_to_list();
  if (!lost_all_) entry.keys = listed;
  entry.lost = lost_;
  entry.lost_all = lost_all_;
  entry.lost_why = lost_why_;
  if (listed.empty() && !lost_all_) {
    if (*there) {
      auto removed = co_await board_.remove(name, (*there)->revision, loop_.now() + options_.call);
      if (!removed) co_return fail(removed.error());
      if (!removed->done) co_return false;
    }
    if (host == host_) registered_ = listed;
    co_return host == host_;
  }
  if (found && !due) {
    entry.at = found->at;
    if (to_text(entry) == to_text(*found)) {
      registered_ = listed;
      listed_ = true;
      co_return true;
    }
  }
  entry.at = now();
  auto writing =
      *there ? board_.replace(name, to_text(entry), (*there)->revision, loop_.now() + options_.call)
             : board_.put_if_absent(name, to_text(entry), loop_.now() + options_.call);
  auto written = co_await std::move(writing);
  if (!written) co_return fail(written.error());
  if (!written->done || host != host_) co_return false;
  registered_ = listed;
  listed_ = true;
  co_return true;
}

// --- another daemon has its name, or is a copy of it ---

void HostAgent::rename(HostIdentity identity) {
  identity_ = std::move(identity);
  host_ = host_name_of(options_.host, identity_);
  registered_.reset();
  listed_ = false;
  anothers_ = false;
  turn_ = 1;
  // In the run that is going on it enrols by its new name.
  enrolled_ = false;
  sheets_.clear();
  changed_ = true;
  if (options_.on_identity) options_.on_identity(host_, identity_);
  register_wake_.set();
  wake_.set();
}

void HostAgent::step_aside() {
  const std::string before = host_;
  HostIdentity identity = identity_;
  identity.marked = true;
  rename(std::move(identity));
  log_.warn(
      "another daemon has this host's name, or this host had it before its state_dir was lost: on "
      "the board it has another from now on. If its state_dir was lost, programs that it knew are "
      "not told until they open their keys again, and runs wait for it by its former name until "
      "that is marked as done (keyfs rotation done RUN --host NAME)",
      {{"taken", before}, {"host", host_}});
}

Task<OtherLife> HostAgent::other_life() const {
  if (!options_.other_life) co_return OtherLife::kCopy;
  co_return co_await options_.other_life();
}

// From another daemon that has its identity.
Task<void> HostAgent::part(std::set<std::string> its_keys) {
  const std::string host = host_;
  const OtherLife other = co_await other_life();
  if (host != host_ || left_) co_return;  // it has meanwhile
  switch (other) {
    case OtherLife::kCopy:
      part_from_copy(std::move(its_keys));
      break;
    case OtherLife::kSuccessor:
      leave_to_successor();
      break;
    case OtherLife::kUnknowing:
      part_from_successor();
      break;
  }
}

// Its document is the successor's, and so are its rows, but for those whose hooks run.
void HostAgent::leave_to_successor() {
  left_ = true;
  registered_.reset();
  listed_ = false;
  sheets_.clear();
  revisions_.clear();
  log_.warn(
      "another keyfs was started with this one's state_dir, and tells its programs: this one, "
      "whose "
      "mount was taken away while it was in use, serves what is open still, and takes part in "
      "rotations no more",
      {{"host", host_}});
}

void HostAgent::part_from_successor() {
  const std::string before = host_;
  left_ = false;
  HostIdentity identity;
  identity.instance = options_.life;
  identity.marked = true;
  rename(std::move(identity));
  log_.warn(
      "another keyfs was started with this one's state_dir, and cannot know all programs that use "
      "this one, whose mount was taken away while it was in use: this one takes part in rotations "
      "still, under another name",
      {{"former", before}, {"host", host_}});
}

void HostAgent::part_from_copy(std::set<std::string> its_keys) {
  const std::string before = host_;
  its_keys.merge(consumers_.keys_in_use());
  for (const std::string& id : its_keys) lost_[id] = "";
  lost_why_ = kListShared;
  parted_ = now();
  HostIdentity identity;
  identity.instance = options_.life;  // as random as any
  identity.marked = true;
  rename(std::move(identity));
  log_.error(
      "another daemon runs with a copy of this one's state_dir: on the board this one has another "
      "name from now on, and the next rotation of the keys that either uses is not complete until "
      "it is marked as done there",
      {{"shared", before}, {"host", host_}});
}

// --- what it does not know any more ---

// By what an earlier life of this daemon has told of itself.
void HostAgent::find_lost(const HostEntry& found) {
  lost_.insert(found.lost.begin(), found.lost.end());
  lost_all_ = lost_all_ || found.lost_all;
  if (lost_why_.empty()) lost_why_ = found.lost_why;
  size_t fresh = 0;
  if (found.keys) {
    for (const std::string& id : *found.keys) {
      if (!known_at_start_.contains(id)) fresh += lost_.try_emplace(id, "").second ? 1 : 0;
    }
  } else if (!found.lost_all && fit_in(known_at_start_)) {
    lost_all_ = true;
    ++fresh;
  }
  if (fresh == 0) return;
  lost_why_ = kListLost;
  log_.error(
      "this host has lost its list of programs that use keys: the next rotation of these keys is "
      "not complete until it is marked as done on this host",
      {{"host", host_}, {"keys", found.keys ? std::to_string(fresh) : "all"}});
}

std::set<std::string> HostAgent::lost_of(const std::set<std::string>& ids) const {
  if (lost_all_) return ids;
  std::set<std::string> lost;
  for (const std::string& id : ids) {
    if (lost_.contains(id)) lost.insert(id);
  }
  return lost;
}

// Those before this one in which it has said so of these keys.
std::set<std::string> HostAgent::runs_of_lost(const std::set<std::string>& ids) const {
  std::set<std::string> runs;
  for (const auto& [id, run] : lost_) {
    if (ids.contains(id) && !run.empty() && run != run_) runs.insert(run);
  }
  return runs;
}

// `name`: of a document that has changed; empty: any may have. One mark does not say that all
// programs of all keys were told, so where it knows those of none, only the next run looks.
void HostAgent::expect_marks(const std::string& name) {
  if (lost_all_ || left_ || !listed_) return;
  const bool due = std::any_of(lost_.begin(), lost_.end(), [&](const auto& one) {
    return !one.second.empty() && (name.empty() || name.starts_with(sheets_of(one.second, host_)));
  });
  if (!due) return;
  marks_due_ = true;
  register_wake_.set();
}

// So that an operator who has marked it as done sees soon that nothing is left to do.
Task<Result<void>> HostAgent::look_at_marks() {
  marks_due_ = false;
  marks_looked_ = loop_.now();
  if (lost_all_ || left_ || !listed_) co_return Result<void>();
  std::set<std::string> runs;
  for (const auto& [id, run] : lost_) {
    if (!run.empty()) runs.insert(run);
  }
  co_return co_await look_at_lost(std::move(runs));
}

// Whether what it said in these runs was marked as done.
Task<Result<void>> HostAgent::look_at_lost(std::set<std::string> runs) {
  bool changed = false;
  for (const std::string& run : runs) {
    auto page =
        co_await board_.list(sheets_of(run, host_), "", kMaxBoardPage, loop_.now() + options_.call);
    if (!page) co_return fail(page.error());
    const bool done =
        std::any_of(page->documents.begin(), page->documents.end(), [](const auto& document) {
          const auto sheet = parse_sheet(document.text);
          const Row* row = sheet ? sheet->find(kUnknownPrograms) : nullptr;
          return row != nullptr && row->state == RowState::kDone;
        });
    if (!done) continue;
    std::erase_if(lost_, [&](const auto& one) { return one.second == run; });
    changed = true;
  }
  if (!changed) co_return Result<void>();
  if (lost_.empty()) {
    lost_all_ = false;
    lost_why_.clear();
    parted_.clear();
  }
  co_return co_await register_host(true);
}

Row HostAgent::unknown_programs(const std::vector<KeyVersion>& keys,
                                const std::set<std::string>& lost) const {
  Row row;
  row.consumer = kUnknownPrograms;
  for (size_t place = 0; place < keys.size(); ++place) {
    if (lost.contains(keys[place].id)) row.keys.push_back(static_cast<uint32_t>(place));
  }
  row.state = RowState::kFailed;
  row.why = short_text(lost_why_.empty() ? kListLost : lost_why_, kMaxWhy);
  row.ended = now();
  return row;
}

}  // namespace keyfs
