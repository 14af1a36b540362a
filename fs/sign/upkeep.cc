// What goes on by itself: names are read anew, what was left over is finished, deletions.
#include <algorithm>
#include <utility>

#include "fs/sign/signing_impl.h"

namespace keyfs {
namespace {

// What could not be finished is tried again.
constexpr Duration kTidyAgain = std::chrono::seconds(30);
constexpr Duration kListAgain = std::chrono::seconds(10);
// Deletions wait as long.
constexpr Duration kLongestSearch = std::chrono::minutes(1);

}  // namespace

Task<void> SigningKeys::Impl::run() {
  TaskGroup<bool> group(loop);
  group.start(tidy_for_ever());
  if (options.lists) group.start(list_for_ever());
  if (options.keeps_alive || options.disposes) group.start(keep_for_ever());
  // Not as a loop's condition: g++ 12 reads that from memory that nobody has written.
  for (;;) {
    const auto done = co_await group.next();
    if (!done) break;
  }
}

Task<bool> SigningKeys::Impl::keep_for_ever() {
  co_await keeper.run();
  co_return true;
}

Task<bool> SigningKeys::Impl::list_for_ever() {
  for (bool first = true;; first = false) {
    if (!first || !loaded) {
      (void)co_await list(loop.now() + std::max<Duration>(options.step, std::chrono::minutes(1)));
    }
    const Duration every = scaled(options.list_every, 0.8 + 0.4 * random());
    co_await list_wake.wait(loop.now() + (loaded ? every : std::min(every, kListAgain)));
  }
}

Task<bool> SigningKeys::Impl::tidy_for_ever() {
  for (;;) {
    (void)co_await tidy(TimePoint::max());
    Duration wait = scaled(options.list_every, 0.8 + 0.4 * random());
    // Commands leave something to be done, too.
    wait = std::min(wait, kTidyAgain);
    if (const auto due = doomed.next_due()) {
      const Duration left = *due - loop.clock().wall();
      // Not at once again: one that is at work elsewhere stays due.
      wait = std::min(wait, std::max<Duration>(left, std::chrono::seconds(1)));
    }
    co_await tidy_wake.wait(loop.now() + wait);
  }
}

Task<bool> SigningKeys::Impl::tidy(TimePoint deadline) {
  using Left = Journal::LeftOver;
  std::function<Result<Left>()> read = [journal = journal] { return journal.left_over(); };
  auto left = co_await worker.run(std::move(read));
  bool all = left.has_value();
  if (!left) {
    failed(left.error());
    log.warn("what was begun could not be read", {{"reason", left.error().message}});
  } else {
    size_t open = 0;
    for (const std::string& path : left->damaged) {
      if (told_damaged.insert(path).second) {
        log.error("what was begun is not readable: a key may have been left without a name",
                  {{"file", path}});
      }
    }
    for (BegunEntryPtr& entry : left->entries) {
      const bool settled = co_await settle_entry(std::move(entry), deadline);
      if (!settled) ++open;
    }
    left_unfinished = open;
    all = open == 0;
  }
  if (auto looked = co_await doomed.look(); !looked) {
    all = false;
    failed(looked.error());
    log.warn("keys to be deleted could not be read", {{"reason", looked.error().message}});
  }
  DeletionQueue::Delete one = [this](Doomed key) { return delete_one(std::move(key)); };
  const bool deleted = co_await doomed.work(std::move(one), deadline);
  if (!deleted) all = false;
  co_return all;
}

// Writes the name of a new key in the regions where it is not yet.
Task<bool> SigningKeys::Impl::is_known_everywhere(BegunEntryPtr entry, Custody& custody) {
  const Begun what = entry->what();
  const IdTurns::Turn turn = co_await turns.take(what.id);
  auto kept = co_await custody.keep_alive(what.id, what.key, loop.now() + options.step);
  if (kept && (!kept->done || kept->behind.empty())) co_return true;
  const std::string reason =
      kept ? "not known yet in " + kept->behind : std::move(kept.error().message);
  if (!what.named) {
    std::function<Result<void>()> note = [entry] { return entry->set_named(); };
    (void)co_await worker.run(std::move(note));  // if it fails, the next try does it
  }
  co_await note_name(custody, what.id, what.key);
  tell_behind(*entry, reason);
  co_return false;
}

// Status each time, the log once.
void SigningKeys::Impl::tell_behind(const BegunEntry& entry, const std::string& reason) {
  const Begun& what = entry.what();
  failed(Error(Code::kUnavailable, "signing key " + what.id + ": " + reason));
  if (!told_behind.insert(entry.path()).second) return;
  log.warn("not every region knows to which key a signing key's name refers; they are told again",
           {{"id", what.id}, {"key", what.key}, {"reason", reason}});
}

// Something that its process did not finish. True: nothing is left to do.
Task<bool> SigningKeys::Impl::settle_entry(BegunEntryPtr entry, TimePoint deadline) {
  const Begun what = entry->what();
  Custody* custody = custody_of(what.custody);
  if (custody == nullptr) co_return false;  // for a process that has it
  if (what.key.empty()) {
    const TimePoint until = std::min(deadline, loop.now() + kLongestSearch);
    co_return co_await settle_unheard(std::move(entry), until);
  }
  auto found =
      co_await custody->find_decided(what.id, std::min(deadline, loop.now() + options.step));
  if (!found) {
    failed(found.error());
    log.warn("a change of a signing key that was begun can't be finished yet",
             {{"id", what.id}, {"reason", found.error().message}});
    co_return false;
  }
  const bool named = *found && (*found)->key == what.key;
  if (named && !what.removal) {
    // The old key stays as long as a region may take the name for it.
    const bool known = co_await is_known_everywhere(entry, *custody);
    if (!known) co_return false;
  }
  std::optional<Doomed> one;
  if (what.removal) {
    // The name is still there: then nothing was done.
    if (!named) {
      one.emplace(what.custody, what.key, what.id, "", loop.clock().wall());
      one->unless_named = false;
    }
  } else if (named || what.named) {
    // Of one that lost its name again, whoever took it takes care.
    if (what.from) one.emplace(what.custody, *what.from, what.id, "", wall_in(options.grace));
  } else {
    one.emplace(what.custody, what.key, what.id, what.from.value_or(""), loop.clock().wall());
    // The name refers to a third key: it may have referred to this one in between, so that the one
    // before is nobody else's to delete, and this one may be in use.
    if (what.from && (!*found || (*found)->key != *what.from)) {
      one->not_before = wall_in(options.grace);
      Doomed before(what.custody, *what.from, what.id, "", wall_in(options.grace));
      if (!co_await doomed.add(std::move(before))) co_return false;
    }
  }
  if (one) {
    auto kept = co_await doomed.add(std::move(*one));
    if (!kept) co_return false;
  }
  told_behind.erase(entry->path());
  log.info("a change of a signing key that was not finished is settled",
           {{"id", what.id}, {"key", what.key}, {"named", named}});
  co_await finish(std::move(entry));
  co_await name_moved(what.id);
  co_return true;
}

Task<Result<bool>> SigningKeys::Impl::delete_one(Doomed one) {
  Custody* custody = custody_of(one.custody);
  if (custody == nullptr) {
    co_return fail(Code::kUnavailable, "there is no custody " + one.custody + " here");
  }
  const TimePoint deadline = loop.now() + options.step;
  if (one.unless_named) {
    auto found = co_await custody->find_decided(one.id, deadline);
    if (!found) co_return fail(std::move(found.error()));
    if (*found && (*found)->key == one.key) {
      log.warn("a signing key is not deleted, because its name refers to it",
               {{"id", one.id}, {"key", one.key}});
      if (!one.instead.empty()) {
        Doomed other(one.custody, one.instead, one.id, "", wall_in(options.grace));
        auto kept = co_await doomed.add(std::move(other));
        if (!kept) co_return fail(std::move(kept.error()));
      }
      co_await name_moved(one.id);
      co_return false;
    }
  }
  auto done = co_await custody->schedule_deletion(one.id, one.key, deadline);
  if (!done && done.error().code != Code::kRevoked) co_return fail(std::move(done.error()));
  co_await public_keys.drop(one.custody, one.key);
  if (done && *done == Deletion::kLeftAlone) {
    log.warn(
        "a key that a signing key's name referred to is not deleted: it is not one that was made "
        "for this name here, or it has another name",
        {{"id", one.id}, {"key", one.key}});
    co_return false;
  }
  log.info("a signing key is deleted", {{"id", one.id}, {"key", one.key}});
  co_return true;
}

// Reads a name again: somebody else has moved it, or what this process knows of it is older.
Task<void> SigningKeys::Impl::name_moved(std::string id) {
  (void)co_await look(std::move(id), loop.now() + options.step);
}

Task<Result<std::set<std::string>>> SigningKeys::Impl::concerned() {
  std::function<Result<std::vector<Begun>>()> read = [journal = journal] { return journal.all(); };
  auto begun = co_await worker.run(std::move(read));
  if (!begun) co_return fail(std::move(begun.error()));
  if (auto looked = co_await doomed.look(); !looked) co_return fail(std::move(looked.error()));
  std::set<std::string> keys;
  for (Begun& what : *begun) {
    keys.insert(std::move(what.key));
    if (what.from) keys.insert(std::move(*what.from));
  }
  for (std::string& key : doomed.keys()) keys.insert(std::move(key));
  for (const SigningKeyPtr& key : all()) keys.insert(key->key);
  co_return keys;
}

}  // namespace keyfs
