#include "fs/cli/check_lost.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/race.h"
#include "fs/cli/output.h"
#include "fs/keys/in_keeping.h"

namespace keyfs {
namespace {

// What the store lacks of the keys that this host has seen, and which records went back: it was
// restored from an older backup, or has lost changes.
struct Lost {
  size_t compared = 0;
  size_t keys = 0;
  bool at_least = false;  // there was no time for all
  std::vector<std::string> names;
  size_t read = 0;  // records that were compared, of the keys that are there
  std::vector<std::string> older;
};

// Some of the keys that are there, spread over all. A list does not tell serials: each is one read.
Task<void> find_older(Loop& loop, Store& store, ReplicaReader& memory,
                      std::vector<std::string> there, TimePoint deadline, Lost& lost) {
  constexpr size_t kRead = 20;
  const size_t wanted = std::min(kRead, there.size());
  for (size_t i = 0; i < wanted; ++i) {
    const std::string& id = there[i * there.size() / wanted];
    auto found = co_await store.get(id, Read::kStrong, deadline);
    const bool damaged = !found && found.error().code == Code::kCorrupt;
    if (damaged) continue;  // not older, but another trouble
    if (!found) co_return;  // what was found still counts
    if (!*found) continue;  // removed just now
    const auto kept = co_await in_keeping(loop, store, memory, std::move(**found), deadline);
    if (!kept && kept.error().code != Code::kCorrupt) co_return;
    ++lost.read;
    if (!kept) lost.older.push_back(id);
  }
}

Task<Result<Lost>> find_lost(Loop& loop, Store& store, ReplicaReader& memory, TimePoint deadline) {
  constexpr size_t kMost = 10'000;
  constexpr size_t kPage = 500;
  constexpr size_t kAsked = 20;
  const auto seen = co_await memory.ids(kMost);
  if (!seen) co_return fail(seen.error());
  std::set<std::string> unlisted(seen->begin(), seen->end());
  Lost lost;
  lost.compared = unlisted.size();
  lost.at_least = seen->size() == kMost;
  // A store with many more keys is not listed to its end.
  const TimePoint listed_by = loop.now() + (deadline - loop.now()) / 2;
  std::string after;
  while (!unlisted.empty()) {
    auto page = co_await store.list(after, kPage, listed_by);
    if (!page && page.error().code != Code::kTimeout) co_return fail(page.error());
    if (page) {
      for (const auto& entry : page->entries) unlisted.erase(entry.id);
      if (!page->next) break;
      after = std::move(*page->next);
    }
    if (page && loop.now() < listed_by) continue;
    lost.at_least = true;
    break;
  }
  // A list may be a little behind: only what the store itself says counts.
  size_t asked = 0;
  for (const std::string& id : unlisted) {
    if (++asked > kAsked) break;
    const auto found = co_await store.get(id, Read::kStrong, deadline);
    if (!found && found.error().code == Code::kCorrupt) continue;  // it is there
    if (!found) co_return fail(found.error());
    if (*found) continue;
    ++lost.keys;
    lost.names.push_back(id);
  }
  // With a whole list, the others are missing too if all that were asked for are.
  if (unlisted.size() > kAsked && lost.keys == kAsked && !lost.at_least) {
    lost.keys = unlisted.size();
  } else if (unlisted.size() > kAsked) {
    lost.at_least = true;
  }
  std::vector<std::string> there;
  std::set_difference(seen->begin(), seen->end(), unlisted.begin(), unlisted.end(),
                      std::back_inserter(there));
  // Before the deadline of the whole, which would take back what was found.
  const TimePoint read_by = deadline - (deadline - loop.now()) / 4;
  co_await find_older(loop, store, memory, std::move(there), read_by, lost);
  co_return lost;
}

// "a, b, c, ..."
std::string first_of(const std::vector<std::string>& names, size_t all) {
  constexpr size_t kNames = 3;
  std::vector<std::string> first = names;
  first.resize(std::min(kNames, names.size()));
  return joined(first) + (all > first.size() ? ", ..." : "");
}

}  // namespace

CheckItem check_lost(CommandContext& context) {
  CheckItem item{"seen by this host", true, "", "", false};
  Loop& loop = context.backends->loop();
  const TimePoint deadline =
      loop.now() +
      std::min<Duration>(std::chrono::seconds(4), context.configuration.settings.open_deadline / 2);
  auto finding = find_lost(loop, context.backends->store(), context.memory(), deadline);
  const auto lost = context.run(
      before(loop, deadline, "comparing this host's memory with the store", std::move(finding)));
  if (!lost) {  // what keeps the memory or the store from answering is told above
    item.detail = "not compared with the store: " + lost.error().message;
    return item;
  }
  if (lost->keys == 0) {
    item.detail = std::to_string(lost->compared) + (lost->compared == 1 ? " key" : " keys") +
                  (lost->at_least ? ", of which not all could be compared in time; none is known "
                                    "to be missing from the store"
                                  : ", none missing from the store");
  } else {
    item.detail = std::string("the store lacks ") + (lost->at_least ? "at least " : "") +
                  std::to_string(lost->keys) + " of " + std::to_string(lost->compared) +
                  " keys: " + first_of(lost->names, lost->keys);
  }
  if (!lost->older.empty()) {
    item.detail += "; of " + std::to_string(lost->read) + " records read, " +
                   std::to_string(lost->older.size()) +
                   " went back to before what this host has seen: " +
                   first_of(lost->older, lost->older.size());
  }
  if (lost->keys == 0 && lost->older.empty()) return item;
  item.ok = false;
  item.remedy =
      "the store was restored from an older backup, or has lost changes; restore a newer copy. "
      "Until then opening these keys is EBADMSG on this host. To accept the store as it is: " +
      context.memory().forget() +
      (lost->keys != 0 ? "; ids that the store lacks then get new, different keys" : "") +
      (lost->older.empty() ? "" : "; what was disabled or deleted since may then be served again");
  return item;
}

}  // namespace keyfs
