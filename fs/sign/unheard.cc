// Keys whose creation was begun and nobody heard of: the reply was lost, or its process ended first.
// They carry the token of their entry in `begun`, by which their custody finds them.
#include <algorithm>
#include <array>
#include <utility>

#include "base/crypto.h"
#include "base/encoding.h"
#include "fs/sign/signing_impl.h"

namespace keyfs {
namespace {

constexpr size_t kTokenBytes = 8;
constexpr Backoff kSearchPause{std::chrono::seconds(30), std::chrono::minutes(5), 0};

}  // namespace

Result<std::string> SigningKeys::Impl::new_token() {
  OsRandom source;
  std::array<uint8_t, kTokenBytes> bytes{};
  if (auto filled = source.fill(bytes); !filled) return fail(std::move(filled.error()));
  return hex_encode(bytes);
}

std::string SigningKeys::Impl::why_unheard(const std::string& path) const {
  const auto search = searches.find(path);
  return search == searches.end() ? "" : search->second.reason;
}

// Looks for the key, and queues its deletion. Lists of keys may lag behind, so that one that is not
// seen is looked for again, until it must have been seen. True: nothing is left to do.
Task<bool> SigningKeys::Impl::settle_unheard(BegunEntryPtr entry, TimePoint deadline) {
  const Begun what = entry->what();
  const std::string path = entry->path();
  Custody* custody = custody_of(what.custody);
  if (!custody->leaves_strays()) {
    co_await finish(std::move(entry));
    co_return true;
  }
  Search search;
  if (const auto known = searches.find(path); known != searches.end()) search = known->second;
  if (loop.now() < search.next) co_return false;

  Result<std::optional<std::string>> made = std::optional<std::string>();
  if (!what.token.empty()) made = co_await custody->made(what.id, what.token, deadline);
  if (made && *made) {
    Doomed one(what.custody, **made, what.id, "", loop.clock().wall());
    auto kept = co_await doomed.add(std::move(one));
    // Whatever the disk's reason is, it was no answer of the custody.
    if (!kept) made = fail(Code::kUnavailable, kept.error().message);
  }
  if (made && *made) {
    log.info("a signing key whose creation nobody heard of was found; it is deleted",
             {{"id", what.id}, {"key", **made}});
    searches.erase(path);
    co_await finish(std::move(entry));
    co_return true;
  }

  const std::string reason = made ? "it is not found" : made.error().message;
  // Whoever may not look at all will not be allowed to by waiting. The clock may have been set.
  const bool looked = made || made.error().code == Code::kDenied;
  const Duration age = std::chrono::abs(loop.clock().wall() - what.at);
  if (looked && age >= kSeenWithin) {
    log.warn(
        "a signing key may have been created whose reference is not known; where keys without a "
        "name are disposed of, it is one of them",
        {{"id", what.id}, {"reason", reason}});
    searches.erase(path);
    co_await finish(std::move(entry));
    co_return true;
  }
  if (search.tries == 0) {
    log.warn("a signing key may have been created whose reference is not known; it is looked for",
             {{"id", what.id}, {"reason", reason}});
  }
  failed(Error(made ? Code::kUnavailable : made.error().code,
               "it is not known yet whether a signing key " + what.id + " was created: " + reason));
  Duration pause = kSearchPause.pause(search.tries, random);
  if (looked) pause = std::min(pause, kSeenWithin - age);
  search.next = loop.now() + pause;
  search.reason = reason;
  ++search.tries;
  searches[path] = search;
  co_return false;
}

}  // namespace keyfs
