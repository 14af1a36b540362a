// Keyring: checking cached keys against the store, and the feed of changes.
#include <algorithm>
#include <utility>

#include "fs/keys/keyring_impl.h"
#include "fs/keys/record_memory.h"
#include "store/record_versions.h"

namespace keyfs {
namespace {

// The least time before a failed background check is retried.
constexpr Duration kRetryRefresh = std::chrono::seconds(5);
// The same while a new version can be had from no region. Nobody has to read the key for it.
constexpr Duration kRetryBehind = std::chrono::seconds(20);

}  // namespace

void Keyring::refresh(KeyRef entry) { impl_->start_refresh(std::move(entry)); }

// The delay before a key served from a possibly stale answer is read again.
void Keyring::Impl::check_behind(const KeyRef& entry) {
  if (parts.cache.begin_refresh(*entry)) start_refresh(entry);
}

void Keyring::Impl::start_refresh(KeyRef entry) {
  to_refresh.push_back(std::move(entry));
  if (refreshing >= options.refreshes) return;
  ++refreshing;
  loop().spawn(run_refreshes());
}

Task<void> Keyring::Impl::run_refreshes() {
  while (!to_refresh.empty()) {
    KeyRef entry = std::move(to_refresh.front());
    to_refresh.pop_front();
    const Check check = co_await refresh(entry);
    const bool ok = check == Check::kRight;
    if (ok) {
      parts.cache.refreshed(*entry);
    } else {
      loop().spawn(cool_down(std::move(entry), check));
    }
    // Whoever sees it counted can have the key checked again.
    if (parts.observer != nullptr) parts.observer->on_refreshed(ok);
  }
  --refreshing;
}

// A store that answers is not asked more often because this host's disk does not.
Task<void> Keyring::Impl::cool_down(KeyRef entry, Check check) {
  const Duration fresh_for =
      std::max<Duration>(parts.cache.options().fresh_for, std::chrono::milliseconds(100));
  const Duration least = check == Check::kBehind ? kRetryBehind : kRetryRefresh;
  const Duration pause =
      check == Check::kUnproven ? fresh_for : std::min<Duration>(least, fresh_for);
  co_await loop().sleep_for(pause);
  parts.cache.refreshed(*entry);
  if (check == Check::kBehind && parts.cache.held(*entry) != nullptr) check_behind(entry);
}

// kRight: the cache is now up to date with the store. kBehind: but for a new version that no region
// unwraps now: the one before is served on, until serve_stale_for. Do not hold a key across a wait:
// if it is revoked in the meantime it must be wiped.
//
// The store's answer is also compared with this host's memory, which may know more than this
// process: commands note there what they delete and disable. If the memory does not answer, nothing
// is proven, so the time of confirmation stays (kUnproven). Nor does the key end, since a hanging
// disk must not take away keys that the store confirms: it is served until serve_stale_for, as if
// the store could not be asked. After that the next read uses the store and what this process
// knows, as each cold read does on such a host. What the store refuses is refused immediately,
// whatever the memory says.
Task<Keyring::Impl::Check> Keyring::Impl::refresh(KeyRef entry) {
  const std::string id(entry->id());
  const TimePoint deadline = now() + options.open_deadline;
  Watch watch(*this, id);
  std::optional<Recall> recall;
  bool again = false;
  for (int look = 1;; ++look) {
    watch.reset();
    const uint32_t epoch = parts.cache.epoch();
    auto seen = co_await source.ask_store(id, deadline);
    const bool lives = seen && seen->stored && seen->stored->record.state == KeyState::kEnabled;
    if (lives && !recall) recall = co_await source.ask_memory(id, deadline);
    if (!seen) {
      if (seen.error().code == Code::kCorrupt) {
        condemn(*entry, seen.error(), sighting_of(seen.error()));
      } else {
        parts.log.warn("a cached key could not be checked: " + seen.error().message, {{"id", id}});
      }
      co_return Check::kFailed;
    }
    if (watch.changed && look < kLooks) continue;
    const auto known = parts.cache.known(*entry, now());
    if (!known.any) co_return Check::kRight;  // gone in the meantime; the next reader asks
    if (!seen->stored) {
      parts.log.error("key " + id +
                          " is served from the cache until serve_stale_for has passed, and then "
                          "refused: the store no longer has its record, and no new key is created",
                      {{"id", id}});
      co_return Check::kFailed;
    }
    const Record& record = seen->stored->record;
    seen->strong = !watch.changed;
    auto why = goes_back(known.memory, record);
    if (!why && lives && recall->stored) why = goes_back(recall->stored->record, record);
    // It may have been changed, and the change noted, after the store was asked.
    if (why && !std::exchange(again, true)) continue;
    if (why) {
      condemn(*entry, went_back(id, *why, parts.memory.forget()));
      co_return Check::kFailed;
    }
    if (record.state != KeyState::kEnabled) {
      accept(*entry, *seen);
      revoke(*entry, watch.changed ? 0 : epoch);
      co_return Check::kRight;
    }
    // Without a check value, only the same wraps are sure to hold the same key.
    const auto current = record.versions.find(record.current);
    const bool other_item =
        record.from_rkms && known.cached != 0 &&
        (current == record.versions.end() || !has_same_wraps(*entry, current->second));
    const bool overtaken = !other_item && is_overtaken(*entry, record);
    if (!other_item) {
      if (const auto damage = contradiction(*entry, record)) {
        condemn(*entry, *damage);
        co_return Check::kFailed;
      }
    }
    if (!other_item && !overtaken) {
      const bool proven = recall->what != Recall::What::kUnknown;
      if (proven) {
        accept(*entry, *seen);
        parts.cache.confirm(*entry, seen->confirmed_at, watch.changed ? 0 : epoch);
      } else {
        follow(*entry, record);  // what it refuses
      }
      // If only older versions are read, nobody needs the current one.
      if (known.cached == 0 || parts.cache.held(*entry) != nullptr) {
        if (proven) co_return Check::kRight;
        parts.log.warn("a cached key could not be checked against what this host has seen",
                       {{"id", id}, {"reason", recall->why ? recall->why->message : ""}});
        co_return Check::kUnproven;
      }
    }
    OpenRequest wish(entry, false, deadline);
    wish.strong = true;
    const auto landed = co_await fly(wish, deadline);
    if (!landed && landed.error().code == Code::kCorrupt && record.from_rkms) {
      condemn(*entry, landed.error(), Sighting::kRkms);
    }
    if (landed && landed->key != nullptr) co_return Check::kRight;
    if (landed || !overtaken) co_return Check::kFailed;
    parts.log.warn("a new version of a key cannot be fetched; the one before is served",
                   {{"id", id}, {"reason", landed.error().message}});
    co_return Check::kBehind;
  }
}

bool Keyring::Impl::has_same_wraps(const KeyEntry& entry, const Version& version) const {
  const SharedKey held = parts.cache.held(entry);
  const auto print = wraps_print(version);
  return held != nullptr && print && held->wraps == *print;
}

// A cached version that is refused by the record must end at once, whatever comes in its place.
bool Keyring::Impl::is_overtaken(const KeyEntry& entry, const Record& record) const {
  const SharedKey current = parts.cache.held(entry);
  if (current == nullptr || current->version == record.current) return false;
  const auto all = parts.cache.all_held(entry);
  return std::all_of(all.begin(), all.end(), [&](const SharedKey& key) {
    return key->version != record.current &&
           version_state(record, key->version) == VersionState::kReadable;
  });
}

void Keyring::on_change(const std::string& id, const std::optional<Stored>& stored) {
  Impl& impl = *impl_;
  const auto [first, last] = impl.watches.equal_range(id);
  for (auto watch = first; watch != last; ++watch) watch->second->changed = true;
  const KeyRef entry = impl.parts.cache.find(id);
  KeyCache& cache = impl.parts.cache;
  const bool back = stored && entry && impl.contradiction(*entry, stored->record);
  // A record that goes back is either an old announcement or damage: ask the store which.
  if (!stored || back) {
    impl.parts.memory.doubt(id);
    if (!entry) return;
    cache.doubt(*entry);
    if (cache.known(*entry, impl.now()).any) impl.check_behind(entry);
    return;
  }
  impl.parts.memory.note(*stored, cache.live());
  if (!entry) return;
  const Record& record = stored->record;
  const auto before = cache.known(*entry, impl.now());
  const bool enabled = record.state == KeyState::kEnabled;
  if (enabled && before.revoked) cache.drop(*entry);  // the next reader fetches it
  if (enabled && impl.is_overtaken(*entry, record)) {
    // It was right until now; serve_stale_for counts from here while no region unwraps the new one.
    cache.confirm(*entry, before.confirmed_at.value_or(TimePoint::min()), 0);
    return impl.check_behind(entry);
  }
  impl.follow(*entry, record);
  if (!enabled) return impl.revoke(*entry, cache.epoch());
  cache.confirm(*entry, TimePoint::min(), cache.epoch());
}

// Each cached key is checked when it is next read, so that keys nobody reads any more do not delay
// others.
void Keyring::on_gap() {
  impl_->parts.cache.mark_gap();
  for (auto& [id, watch] : impl_->watches) watch->changed = true;
  impl_->parts.memory.on_gap();
}

void Keyring::on_live(bool live, TimePoint as_of) {
  impl_->parts.cache.set_live(live, as_of);
  impl_->parts.memory.on_live(live);
}

}  // namespace keyfs
