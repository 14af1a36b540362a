#include "fs/sign/name_keeper.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/file.h"
#include "fs/sign/state_files.h"

namespace keyfs {
namespace {

constexpr Duration kFirstKeepAlive = std::chrono::minutes(1);
constexpr Duration kKeepAliveAgain = std::chrono::minutes(30);  // after a failure
constexpr Duration kDisposalPace = std::chrono::seconds(1);     // between two keys
// KMS tells of each key of the account on its own.
constexpr Duration kNamelessPass = std::chrono::minutes(30);
constexpr size_t kMostKnown = 100'000;

std::chrono::milliseconds whole_milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

// Key ids that are nobody's concern, a line each. Larger than a state file may be.
std::vector<std::string> read_known(const std::string& path) {
  std::vector<std::string> known;
  const auto text = read_to_end(path, size_t{8} << 20);
  if (!text) return known;
  for (size_t at = 0; at < text->size();) {
    const size_t end = text->find('\n', at);
    if (end == std::string::npos) break;
    if (end > at) known.push_back(text->substr(at, end - at));
    at = end + 1;
  }
  return known;
}

}  // namespace

Duration NameKeeper::about(Duration every) const {
  return scaled(every, 0.8 + 0.4 * parts_.random());
}

Task<void> NameKeeper::run() {
  Loop& loop = parts_.loop;
  TimePoint keep_at = loop.now() + about(std::min(kFirstKeepAlive, options_.keep_alive_every));
  TimePoint dispose_at = keep_at;
  for (;;) {
    if (options_.keeps_alive && loop.now() >= keep_at) {
      const bool all = co_await keep_alive();
      keep_at = loop.now() + about(all ? options_.keep_alive_every
                                       : std::min(kKeepAliveAgain, options_.keep_alive_every));
    }
    if (options_.disposes && loop.now() >= dispose_at) {
      // A host that keeps no names alive has none that could be taken for abandoned.
      if (kept_alive_ || !options_.keeps_alive) {
        co_await dispose();
        dispose_at = loop.now() + about(options_.dispose_every);
      } else {
        dispose_at = keep_at;
      }
    }
    TimePoint next = TimePoint::max();
    if (options_.keeps_alive) next = std::min(next, keep_at);
    if (options_.disposes) next = std::min(next, dispose_at);
    co_await loop.sleep_until(next);
  }
}

Task<Result<Pointed>> NameKeeper::keep_one(Custody& custody, SigningKeyPtr key) {
  const IdTurns::Turn turn = co_await parts_.turns.take(key->id);
  co_return co_await custody.keep_alive(key->id, key->key, parts_.loop.now() + options_.step);
}

Task<bool> NameKeeper::keep_alive() {
  const auto names = parts_.names();
  if (!names) co_return false;
  const WallTime now = parts_.loop.clock().wall();
  bool all = true;
  bool behind = false;  // where names are decided they were written
  std::map<std::string, WallTime> refreshed;
  for (const SigningKeyPtr& key : *names) {
    const auto last = refreshed_.find(key->id);
    // After a restart there is nothing to do for half of the time.
    if (last != refreshed_.end() && last->second <= now &&
        now - last->second < whole_milliseconds(options_.keep_alive_every) / 2) {
      refreshed.insert(*last);
      continue;
    }
    for (Custody* custody : parts_.custodies) {
      if (custody->kind() != key->custody) continue;
      auto kept = co_await keep_one(*custody, key);
      if (!kept) {
        all = false;
        parts_.log.warn("the name of a signing key could not be kept alive, and is tried again",
                        {{"id", key->id}, {"reason", kept.error().message}});
      } else if (kept->done && !kept->behind.empty()) {
        behind = true;
        parts_.log.warn(
            "not every region knows to which key a signing key's name refers; they are told again",
            {{"id", key->id}, {"reason", "not known yet in " + kept->behind}});
      } else if (kept->done) {
        refreshed[key->id] = parts_.loop.clock().wall();
      } else {
        co_await parts_.moved(key->id);
      }
    }
  }
  refreshed_.swap(refreshed);
  kept_alive_ = kept_alive_ || all;
  co_return all && !behind;
}

Task<void> NameKeeper::dispose() {
  for (Custody* custody : parts_.custodies) {
    if (custody->leaves_strays()) co_await dispose_in(*custody);
  }
}

Task<void> NameKeeper::dispose_in(Custody& custody) {
  Loop& loop = parts_.loop;
  auto stale = co_await custody.stale_siblings(
      loop.clock().wall() - whole_milliseconds(options_.stale_siblings_after),
      loop.now() + kNamelessPass);
  if (stale) {
    co_await dispose_all(custody, std::move(*stale), "abandoned under its name");
  } else {
    parts_.log.warn("names that were abandoned could not be looked for",
                    {{"reason", stale.error().message}});
  }
  const std::string path = options_.directory + "/known";
  std::function<Result<std::vector<std::string>>()> read = [path] {
    return Result<std::vector<std::string>>(read_known(path));
  };
  auto on_disk = co_await parts_.worker.run(std::move(read));
  std::vector<std::string> known;
  if (on_disk) known = std::move(*on_disk);
  const std::vector<std::string> before = known;
  auto nameless = co_await custody.nameless_keys(
      loop.clock().wall() - whole_milliseconds(options_.nameless_after), known,
      loop.now() + kNamelessPass);
  if (known != before) {
    if (known.size() > kMostKnown) {
      known.erase(known.begin(), known.end() - static_cast<std::ptrdiff_t>(kMostKnown));
    }
    std::string text;
    for (const std::string& key : known) text += key + "\n";
    std::function<Result<void>()> write = [path, text] {
      return write_whole_file(path, text, true, 0600);
    };
    (void)co_await parts_.worker.run(std::move(write));
  }
  if (nameless) {
    co_await dispose_all(custody, std::move(*nameless), "has no name");
  } else {
    parts_.log.warn("signing keys without a name could not be looked for",
                    {{"reason", nameless.error().message}});
  }
}

Task<void> NameKeeper::dispose_all(Custody& custody, std::vector<StrayKey> strays,
                                   std::string what) {
  for (const StrayKey& stray : strays) {
    // Asked for each: a key may have been begun meanwhile.
    auto concerned = co_await parts_.concerned();
    if (!concerned) {
      parts_.log.warn("nothing is disposed of, because what is begun could not be read",
                      {{"reason", concerned.error().message}});
      co_return;
    }
    if (concerned->contains(stray.key)) continue;
    auto done = co_await custody.dispose(stray, parts_.loop.now() + options_.step);
    if (done && *done == Deletion::kLeftAlone) {
      parts_.log.info("a signing key is left alone: it is not what it was when it was found",
                      {{"key", stray.key}, {"alias", stray.alias}});
    } else if (done) {
      ++disposed_;
      parts_.log.info("a signing key is disposed of",
                      {{"key", stray.key}, {"alias", stray.alias}, {"why", what}});
    } else {
      parts_.log.warn("a signing key could not be disposed of, and is tried again",
                      {{"key", stray.key}, {"reason", done.error().message}});
    }
    co_await parts_.loop.sleep_for(kDisposalPace);
  }
}

}  // namespace keyfs
