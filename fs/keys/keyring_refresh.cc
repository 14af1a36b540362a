// Keyring: checking cached keys against the store, and the feed of changes.
#include <algorithm>

#include "fs/keys/keyring_impl.h"

namespace keyfs {
namespace {

// Background checks that failed are not tried again before this has passed.
constexpr Duration kRetryRefresh = std::chrono::seconds(5);

}  // namespace

void Keyring::refresh(KeyRef entry) { impl_->start_refresh(std::move(entry)); }

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
    const bool ok = co_await refresh(entry);
    if (parts.observer != nullptr) parts.observer->on_refreshed(ok);
    if (ok) {
      parts.cache.refreshed(*entry);
    } else {
      loop().spawn(cool_down(std::move(entry)));
    }
  }
  --refreshing;
}

Task<void> Keyring::Impl::cool_down(KeyRef entry) {
  co_await loop().sleep_for(std::min(
      kRetryRefresh,
      std::max<Duration>(parts.cache.options().fresh_for, std::chrono::milliseconds(100))));
  parts.cache.refreshed(*entry);
}

// True when the cache knows now what the store knows.
Task<bool> Keyring::Impl::refresh(KeyRef entry) {
  const std::string id(entry->id());
  const TimePoint deadline = now() + options.open_deadline;
  Watch watch(*this, id);
  for (int look = 1;; ++look) {
    watch.reset();
    const uint32_t epoch = parts.cache.epoch();
    const auto seen = co_await source.ask_store(id, deadline);
    if (!seen) {
      if (seen.error().code == Code::kCorrupt) {
        tell_corrupt(id, seen.error());
      } else {
        parts.log.warn("a cached key could not be checked: " + seen.error().message, {{"id", id}});
      }
      co_return false;
    }
    if (watch.changed && look < kLooks) continue;
    const SharedKey held = parts.cache.held(*entry);
    if (held == nullptr) co_return true;  // gone meanwhile; the next reader asks
    if (!seen->stored) {
      tell_corrupt(id, Error(Code::kCorrupt,
                             "the store no longer has its record; the cached key is "
                             "served until serve_stale_for has passed"));
      co_return false;
    }
    const Record& record = seen->stored->record;
    if (record.state != KeyState::kEnabled) {
      revoke(*entry, watch.changed ? 0 : epoch);
      co_return true;
    }
    const auto current = record.versions.find(record.current);
    if (record.current == held->version && current != record.versions.end()) {
      // The same version, and so the same key, or somebody has been at the record.
      if (auto right = verify_key(held->key, id, held->version, current->second); !right) {
        tell_corrupt(id, right.error());
        co_return false;
      }
      parts.cache.confirm(*entry, held->version, seen->confirmed_at, epoch);
      co_return true;
    }
    OpenRequest wish(entry, false, deadline);
    const auto landed = co_await fly(wish, deadline);
    co_return landed && landed->key != nullptr;
  }
}

void Keyring::on_change(const std::string& id, const std::optional<Stored>& stored) {
  Impl& impl = *impl_;
  const auto [first, last] = impl.watches.equal_range(id);
  for (auto watch = first; watch != last; ++watch) watch->second->changed = true;
  if (impl.parts.replica != nullptr) {
    stored ? impl.parts.replica->note(*stored) : impl.parts.replica->doubt(id);
  }
  const KeyRef entry = impl.parts.cache.find(id);
  if (!entry) return;
  KeyCache& cache = impl.parts.cache;
  if (!stored) {
    cache.doubt(*entry);
    if (cache.held(*entry) != nullptr) refresh(entry);
  } else if (stored->record.state != KeyState::kEnabled) {
    impl.revoke(*entry, cache.epoch());
  } else if (!cache.confirm(*entry, stored->record.current, impl.now(), cache.epoch())) {
    cache.drop(*entry);  // enabled again, or a new version: the next reader fetches it
  }
}

void Keyring::on_gap() {
  impl_->parts.cache.mark_gap();
  for (auto& [id, watch] : impl_->watches) watch->changed = true;
  if (impl_->parts.replica != nullptr) impl_->parts.replica->on_gap();
  impl_->parts.cache.for_each_held([this](const KeyRef& entry) { refresh(entry); });
}

void Keyring::on_live(bool live, TimePoint as_of) {
  impl_->parts.cache.set_live(live, as_of);
  if (impl_->parts.replica != nullptr) impl_->parts.replica->on_live(live);
}

}  // namespace keyfs
