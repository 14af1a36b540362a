// Keyring: creating a key, unwrapping one, and reporting on it.
#include <algorithm>

#include "fs/keys/key_maker.h"
#include "fs/keys/keyring_impl.h"
#include "fs/keys/record_memory.h"

namespace keyfs {
namespace {

// Whether an error of a write says that nothing was written. Others may come after it was.
bool was_refused(const Error& error) {
  return error.code == Code::kDenied || error.code == Code::kUnauthenticated ||
         error.code == Code::kInvalid;
}

}  // namespace

Task<Result<Created>> Keyring::Impl::create(OpenRequest request, CreationPass pass,
                                            TimePoint deadline, Flights::Flight* flight,
                                            uint32_t epoch, std::shared_ptr<Creation> creation) {
  const std::string id(request.entry->id());
  if (auto room = make_room(options.key_bytes); !room) co_return fail(std::move(room.error()));
  std::optional<Writing> on_its_way;
  MakeRequest wish(pass, options.key_bytes, options.creator, deadline);
  wish.may_write = [&creation, deadline] { return creation->begins(deadline); };
  wish.before_write = [&] {
    flight->pin();
    creation->writing();
    on_its_way.emplace(*this);
  };
  const TimePoint asked_at = now();
  auto made = co_await make_key(loop(), parts.store, parts.regions, std::move(wish));
  on_its_way.reset();
  if (!made) {
    if (creation->is_writing()) {
      if (was_refused(made.error())) {
        creation->not_saved();
      } else {
        creation->perhaps_saved(made.error().message);
      }
      made.error() = as_outage(std::move(made.error()));  // since writing, all is the store's
    }
    if (made.error().code == Code::kCorrupt) tell_corrupt(id, made.error());
    co_return fail(std::move(made.error()));
  }
  if (!made->ours) {
    creation->not_saved();
    if (parts.observer != nullptr) parts.observer->on_lost_race();
    Created lost{nullptr, std::move(made->stored)};
    co_return lost;
  }
  const Record& record = made->stored.record;
  const SharedKey key = make_data_key(std::move(made->key), record, record.current, made->region);
  creation->saved(key->version, key->region);
  accept(*request.entry, Inquiry::Seen{made->stored, false, true, asked_at});
  // Handed out only once this host has it on disk: if the store loses the record, the key must not
  // be created again. If it is not handed out, it is an ordinary key in the store for the next
  // open.
  const std::string what = "this host's memory";
  auto keeping = parts.memory.kept(id);
  auto kept = co_await before(loop(), deadline, what, std::move(keeping));
  if (!kept) {
    const Error why = as_outage(kept.error());
    co_return fail(why.code == Code::kTimeout ? Code::kUnavailable : why.code,
                   "key " + id + " was created but is not handed out yet: " + why.message);
  }
  // Unless what was announced in the meantime has overtaken it.
  const auto known = parts.cache.known(*request.entry, now());
  if (!known.revoked && known.memory.version == key->version) {
    parts.cache.put(*request.entry, key, asked_at, epoch);
  }
  tell_degraded(record, record.current, false);
  if (parts.observer != nullptr) parts.observer->on_created(id);
  Created created{key, std::nullopt};
  co_return created;
}

Task<Result<SharedKey>> Keyring::Impl::unwrap(const Record& record, uint32_t version,
                                              TimePoint deadline) {
  const Version& wanted = record.versions.at(version);
  if (auto room = make_room(wanted.bytes); !room) co_return fail(std::move(room.error()));
  // Named, since g++ 12 may destroy a temporary in a co_await twice.
  WrappedKeys wraps = wraps_of(wanted);
  EncryptionContext context = context_of(record, version);
  KeyVerifier verifier = verifier_of(record, version);
  auto unwrapped = co_await parts.regions.unwrap(std::move(wraps), std::move(context),
                                                 std::move(verifier), deadline);
  if (!unwrapped) {
    parts.memory.note_seen(record.id, sighting_of(record));
    const Error error = unwrapped.error().within("could not unwrap key " + record.id);
    if (error.code == Code::kCorrupt) tell_corrupt(record.id, error);
    co_return fail(error);
  }
  // The verifier has the last word on each region's answer, so what came was compared.
  tell_degraded(record, version, unwrapped->suspect);
  co_return make_data_key(std::move(unwrapped->key), record, version, unwrapped->region);
}

// If locked memory runs out, evict the least used keys rather than fail this one.
Result<void> Keyring::Impl::make_room(size_t bytes) {
  auto probe = parts.arena.allocate(bytes);
  if (probe) return {};
  constexpr size_t kSome = 2048;
  if (parts.cache.shrink(kSome) == 0) return fail(probe.error());
  parts.log.warn("locked memory ran out: the least used keys were wiped from the cache",
                 {{"reason", probe.error().message}});
  probe = parts.arena.allocate(bytes);
  if (!probe) return fail(probe.error());
  return {};
}

SharedKey Keyring::Impl::make_data_key(SecretBytes key, const Record& record, uint32_t version,
                                       const std::string& region) {
  const Version& made = record.versions.at(version);
  auto data = std::make_shared<DataKey>();
  data->key = std::move(key);
  data->version = version;
  if (record.from_rkms) data->wraps = wraps_print(made).value_or(0);
  data->created = from_rfc3339(made.created).value_or(WallTime{});
  data->regions = region_list(made);
  data->region = parts.cache.region_name(region);
  return data;
}

RegionList Keyring::Impl::region_list(const Version& version) {
  std::vector<std::string> names;
  for (const auto& [region, wrap] : version.wrapped) names.push_back(region);
  // Nearly all keys are wrapped in the same regions.
  if (last_list == nullptr || *last_list != names) {
    last_list = std::make_shared<const std::vector<std::string>>(std::move(names));
  }
  return last_list;
}

void Keyring::Impl::tell_degraded(const Record& record, uint32_t version, bool suspect) {
  if (suspect) {
    parts.log.error("a wrapped key in the record of key " + record.id +
                        " gives another key than was wrapped; another region gave the right one",
                    {{"id", record.id}, {"version", version}});
  }
  if (parts.observer == nullptr) return;
  const WrappedKeys wraps = wraps_of(record.versions.at(version));
  const bool whole =
      parts.regions.lacking(wraps).empty() && parts.regions.under_previous_masters(wraps).empty();
  if (suspect || !whole) parts.observer->on_degraded(record.id, suspect);
}

void Keyring::Impl::revoke(KeyEntry& entry, uint32_t epoch) {
  parts.cache.revoke(entry, now(), epoch);
  if (parts.observer != nullptr) parts.observer->on_ended(entry, 0);
}

std::optional<Error> Keyring::Impl::contradiction(const KeyEntry& entry, const Record& record) {
  const std::string id(entry.id());
  if (const auto why = goes_back(parts.cache.known(entry, now()).memory, record)) {
    return went_back(id, *why, parts.memory.forget());
  }
  if (record.state != KeyState::kEnabled) return std::nullopt;  // no key is served by it
  // The same version must be the same key, or somebody has tampered with the record.
  for (const SharedKey& key : parts.cache.all_held(entry)) {
    const auto found = record.versions.find(key->version);
    if (found == record.versions.end()) {
      const std::string why = "version " + std::to_string(key->version) + " is gone";
      return went_back(id, why, parts.memory.forget());
    }
    auto right = verify_key(key->key, id, key->version, found->second);
    if (!right) return std::move(right.error());
  }
  return std::nullopt;
}

void Keyring::Impl::follow(KeyEntry& entry, const Record& record) {
  const KeyCache::Followed news = parts.cache.follow(entry, record);
  if (parts.observer == nullptr) return;
  for (const uint32_t version : news.ended) parts.observer->on_ended(entry, version);
  if (news.from != 0) parts.observer->on_current_changed(entry, news.from, news.to);
}

void Keyring::Impl::accept(KeyEntry& entry, const Inquiry::Seen& seen) {
  follow(entry, seen.stored->record);
  if (!pinned.empty()) pinned.erase(std::string(entry.id()));
  if (!seen.from_memory) parts.memory.note(*seen.stored, seen.strong);
}

void Keyring::Impl::condemn(KeyEntry& entry, const Error& error, Sighting what) {
  const std::string id(entry.id());
  tell_corrupt(id, error);
  // The record may be removed next, as the first thing that an operator tries.
  parts.memory.note_seen(id, what);
  const auto known = parts.cache.known(entry, now());
  if (known.memory.rkms != 0) pinned[id] = parts.cache.find(id);
  if (!known.any) return;
  parts.cache.drop(entry);
  if (parts.observer != nullptr) parts.observer->on_ended(entry, 0);
}

void Keyring::Impl::tell_corrupt(const std::string& id, const Error& error) {
  parts.log.error("key " + id + " cannot be served, and no new key is created: " + error.message,
                  {{"id", id}});
}

}  // namespace keyfs
