#include "fs/rotation/host_keys.h"

#include <optional>
#include <utility>

#include "fs/policy/key_id.h"
#include "store/record_versions.h"

namespace keyfs {

uint32_t CachedHostKeys::served(const KeyRef& entry) {
  const KeyCache::Peeked peeked = cache_.peek(*entry, loop_.now());
  if (peeked.what == KeyCache::Peek::kServeAndRefresh) keyring_.refresh(entry);
  return peeked.key != nullptr ? peeked.key->version : 0;
}

Task<Result<bool>> CachedHostKeys::serves(KeyVersion key, TimePoint deadline) {
  if (!is_key_id(key.id)) co_return fail(Code::kInvalid, "a run names an id that is none");
  const KeyRef entry = cache_.acquire(key.id);
  if (served(entry) == key.version) co_return true;
  // By its number, since the plain name is answered from the cache. What comes is followed: if it is
  // the current version, the plain name gives it from here on.
  std::optional<Error> why_not;
  {
    OpenRequest request(entry, false, deadline, key.version);
    request.strong = true;
    const auto opened = co_await keyring_.open(std::move(request));
    if (!opened) why_not = opened.error();
  }
  if (served(entry) == key.version) co_return true;
  auto replaced = co_await was_replaced(key, entry, deadline);
  if (replaced && *replaced) co_return true;
  // An answer that is on its way, or was, is not used either.
  keyring_.on_change(key.id, std::nullopt);
  if (!replaced) co_return fail(std::move(replaced.error()));
  if (why_not) co_return fail(std::move(*why_not));
  co_return false;
}

Task<Result<bool>> CachedHostKeys::was_replaced(KeyVersion key, KeyRef entry, TimePoint deadline) {
  const auto stored = co_await store_.get(key.id, Read::kStrong, deadline);
  if (!stored) co_return fail(stored.error());
  if (!*stored) co_return fail(Code::kCorrupt, "the store has no record of key " + key.id);
  const Record record = (*stored)->record;
  if (record.state != KeyState::kEnabled) co_return fail(revoked(key.id, record.state));
  // One that does not know the version is older than the run: the store went back.
  if (record.current == key.version || last_version(record) < key.version) co_return false;
  if (served(entry) == 0) {
    OpenRequest request(entry, false, deadline);
    request.strong = true;
    const auto opened = co_await keyring_.open(std::move(request));
    if (!opened) co_return fail(opened.error());
  }
  co_return served(entry) == record.current;
}

}  // namespace keyfs
