#include "fs/keys/keyring.h"

#include <algorithm>
#include <utility>

#include "fs/keys/keyring_impl.h"
#include "store/record_versions.h"

namespace keyfs {
namespace {

// How much earlier than its waiters a flight gives up, so that they get its reasons.
Duration margin(Duration left) {
  return std::min<Duration>(std::chrono::milliseconds(100), left / 20);
}

}  // namespace

Keyring::Keyring(KeyringParts parts, KeyringOptions options)
    : impl_(std::make_unique<Impl>(parts, std::move(options))) {}
Keyring::~Keyring() = default;

size_t Keyring::waiting() const { return impl_->places.taken(); }
size_t Keyring::flights() const { return impl_->flights.size(); }

Task<Result<bool>> Keyring::settled() {
  Impl& impl = *impl_;
  if (impl.writing == 0) co_return true;
  struct Waiting {
    explicit Waiting(Impl& keyring) : impl(keyring), written(keyring.loop()) {
      impl.all_written = &written;
    }
    ~Waiting() { impl.all_written = nullptr; }
    Impl& impl;
    OneShot<bool> written;
  } waiting(impl);
  const bool written = co_await waiting.written;
  co_return written;
}

Task<Result<std::optional<Opened>>> Keyring::open(OpenRequest request) {
  Impl& impl = *impl_;
  KeyringObserver* observer = impl.parts.observer;
  const TimePoint begin = impl.now();
  auto opened = co_await impl.open(std::move(request));
  if (observer != nullptr) {
    if (!opened) {
      observer->on_failed(opened.error());
    } else if (*opened) {
      observer->on_opened((*opened)->source, (*opened)->created, impl.now() - begin);
    }
  }
  co_return opened;
}

Task<Result<std::optional<Opened>>> Keyring::Impl::open(OpenRequest request) {
  const std::string id(request.entry->id());
  if (is_signing_record_id(id)) co_return std::optional<Opened>();  // never read as a data key
  auto peeked = parts.cache.peek(*request.entry, now(), request.version);
  switch (peeked.what) {
    case KeyCache::Peek::kServeAndRefresh:
      start_refresh(request.entry);
      [[fallthrough]];
    case KeyCache::Peek::kServe:
      co_return Opened{std::move(peeked.key), KeySource::kCache};
    case KeyCache::Peek::kRevoked:
      co_return fail(revoked(id, peeked.state, request.version));
    case KeyCache::Peek::kAsk:
      break;
  }
  if (auto admitted = admit(request.caller, id); !admitted)
    co_return fail(std::move(admitted.error()));
  const WaitingPlaces::Place place(places, request.caller);
  const std::string what = "could not read key " + id;
  bool again = false;
  for (;;) {
    const Duration left = request.deadline - now();
    auto flight = fly(request, request.deadline - margin(left));
    auto landed = co_await before(loop(), request.deadline, what, std::move(flight));
    if (!landed) {
      // The flight had its first caller's deadline; ours may be later.
      const bool time_left = request.deadline - now() > 2 * margin(left);
      if (landed.error().code == Code::kTimeout && time_left && !again) {
        again = true;
        continue;
      }
      co_return fail(std::move(landed.error()));
    }
    if (landed->key != nullptr) {
      co_return Opened{std::move(landed->key), landed->source, landed->created,
                       std::move(landed->creation)};
    }
    // Absent. If we may create it, we joined too late for the flight to know; the next flight does.
    if (!request.may_create || request.version != 0) co_return std::nullopt;
    if (now() >= request.deadline) {
      co_return fail(Code::kTimeout, "could not create key " + id + ": the deadline passed");
    }
  }
}

Task<Result<Landed>> Keyring::Impl::fly(OpenRequest request, TimePoint deadline) {
  std::string key(request.entry->id());
  if (request.version != 0) key += "/" + std::to_string(request.version);
  // Nothing else runs between here and joining the flight: join() starts immediately.
  auto& place = flying[key];
  if (place == nullptr) {
    place = std::make_shared<Flying>(request.caller);
  } else {
    place->ticket.join(request.caller);
  }
  const std::shared_ptr<Flying> mine = place;
  std::optional<Creator> creator;
  if (request.may_create && request.version == 0) {
    creator.emplace(*mine, Asker{request.caller, ++askers, request.witness});
  }
  // Named, since g++ 12 may destroy a temporary in a co_await twice.
  Flights::Work work = [this, request, deadline, mine, key](Flights::Flight& flight) {
    return fetch(request, deadline, mine, &flight, FlightEnd(*this, key));
  };
  auto landed = co_await flights.join(key, std::move(work));
  // The others got what one of them has made.
  if (landed && landed->created && !(creator && creator->made(*landed->creation))) {
    landed->created = false;
    landed->creation.reset();
  }
  co_return landed;
}

Task<Result<Landed>> Keyring::Impl::fetch(OpenRequest request, TimePoint deadline,
                                          std::shared_ptr<Flying> flying_now,
                                          Flights::Flight* flight, FlightEnd /*end*/) {
  const std::string id(request.entry->id());
  KeyEntry& entry = *request.entry;
  FairTurns::Turn turn = co_await fetches.take(flying_now->ticket);
  Watch watch(*this, id);
  Inquiry inquiry(source, id, deadline);
  std::optional<Stored> winner;  // of a race that we lost
  bool strong = request.strong;
  for (int look = 1;; ++look) {
    watch.reset();
    uint32_t epoch = parts.cache.epoch();
    Result<Inquiry::Seen> seen = Inquiry::Seen{std::exchange(winner, {}), false, true, now()};
    if (!seen->stored) {
      seen = co_await inquiry.look(parts.cache.known(entry, now()), strong);
    }
    if (!seen) {
      if (seen.error().code == Code::kCorrupt)
        condemn(entry, seen.error(), sighting_of(seen.error()));
      co_return fail(std::move(seen.error()));
    }
    if (watch.changed && look < kLooks) continue;
    if (!seen->stored) {
      // A caller that waits for a disk, or for a turn to create, must not hold a reader's place.
      turn.give_back();
      const bool patiently = !flying_now->creators.empty();
      const Recall recall = co_await inquiry.recall(patiently);
      // Made between the two answers, by a command or by another host whose change was announced;
      // or the store has lost it.
      const bool made =
          watch.changed || (recall.what == Recall::What::kKnown && inquiry.hindsight());
      if (made && look < kLooks) {
        turn = co_await fetches.take(flying_now->ticket);
        continue;
      }
      auto admitted = co_await pass(request.entry, inquiry, *flying_now);
      if (!admitted) co_return fail(std::move(admitted.error()));
      if (!*admitted) co_return Landed{};
      auto slow = co_await keep_to_rate(id, flying_now, deadline);
      if (!slow) co_return fail(std::move(slow.error()));
      turn = co_await creations.take(flying_now->ticket);
      if (flying_now->creators.empty()) co_return Landed{};
      // Announced in the meantime: then it exists.
      if (parts.cache.known(entry, now()).memory.known != 0 && look < kLooks) continue;
      const Asker& asker = flying_now->askers.front();
      auto creation = std::make_shared<Creation>(asker.witness, asker.opener);
      auto created = co_await create(request, **admitted, deadline, flight, epoch, creation);
      if (!created) co_return fail(std::move(created.error()));
      if (created->key != nullptr) {
        Landed landed{std::move(created->key), KeySource::kRegion, true, std::move(creation)};
        co_return landed;
      }
      winner = std::move(created->winner);
      continue;
    }
    const Record& record = seen->stored->record;
    // Another flight for the same id may have seen more in the meantime.
    if (look < kLooks && contradiction(entry, record)) continue;
    // A stale answer was true once; it is checked again as soon as it is used.
    if (!seen->strong || watch.changed) epoch = 0;
    if (record.state != KeyState::kEnabled) {
      accept(entry, *seen);
      revoke(entry, epoch);
      co_return fail(revoked(id, record.state));
    }
    const uint32_t version = request.version != 0 ? request.version : record.current;
    const VersionState state = version_state(record, version);
    if (state != VersionState::kReadable && request.version == 0) {
      const Error none(Code::kCorrupt, "the record of key " + id + " lacks its current version");
      condemn(entry, none);
      co_return fail(none);
    }
    // An answer that may be old knows neither the newest versions nor which are permitted again.
    if (state != VersionState::kReadable && !seen->strong && !std::exchange(strong, true)) continue;
    if (state == VersionState::kRetired || state == VersionState::kDestroyed) {
      accept(entry, *seen);
      if (seen->strong) parts.cache.confirm(entry, seen->confirmed_at, epoch);
      co_return fail(revoked(id, KeyState::kEnabled, version));
    }
    if (state != VersionState::kReadable) {
      if (seen->strong) co_return Landed{};
      co_return fail(Code::kUnavailable, "could not read version " + std::to_string(version) +
                                             " of key " + id +
                                             ": the store does not answer, and this host's copy of "
                                             "the record may be older than that version");
    }
    auto key = co_await unwrap(record, version, deadline);
    // The store may have come back in the meantime, and knows better than the memory: the record
    // may be damaged, revoked or gone.
    bool late = false;
    if (seen->from_memory) late = co_await inquiry.answered_late();
    if (late) continue;
    if (!key) co_return fail(std::move(key.error()));
    if (watch.changed && look < kLooks) continue;
    if (record.from_rkms) {
      auto proven = prove_rkms(seen->stored->record, version, (*key)->key);
      if (!proven) co_return fail(std::move(proven.error()));
      if (goes_back(parts.cache.known(entry, now()).memory, record)) {
        const Error other = other_rkms_key(id);
        condemn(entry, other, Sighting::kRkms);
        co_return fail(other);
      }
    }
    // While the region was asked, too.
    if (const auto damage = contradiction(entry, record)) {
      if (look < kLooks) continue;
      condemn(entry, *damage);
      co_return fail(*damage);
    }
    if (watch.changed) seen->strong = false;
    accept(entry, *seen);
    if (version == record.current) {
      parts.cache.put(entry, *key, seen->confirmed_at, epoch);
    } else {
      parts.cache.put_older(entry, *key, seen->confirmed_at, epoch);
    }
    if (!seen->strong) check_behind(request.entry);
    Landed landed{std::move(*key), seen->from_memory ? KeySource::kReplica : KeySource::kRegion};
    co_return landed;
  }
}

Result<void> Keyring::Impl::admit(ForUser caller, const std::string& id) {
  const auto refuse = [&](const std::string& why) {
    return fail(Code::kThrottled, "could not read key " + id + ": " + why);
  };
  switch (places.judge(caller)) {
    case WaitingPlaces::Verdict::kAdmitted:
      return {};
    case WaitingPlaces::Verdict::kAllTaken:
      return refuse(std::to_string(places.taken()) + " opens are already waiting (waiting_opens)");
    case WaitingPlaces::Verdict::kShareTaken:
      return refuse(std::to_string(places.taken_by(caller)) +
                    " opens of this user are already waiting, its share of waiting_opens");
  }
  return {};
}

// Refused callers wait too: after an immediate answer they would only ask again immediately.
Task<Result<void>> Keyring::Impl::keep_to_rate(std::string id, std::shared_ptr<Flying> flying_now,
                                               TimePoint deadline) {
  const Duration pause = std::max<Duration>((deadline - now()) / 4, std::chrono::milliseconds(50));
  for (;;) {
    const Duration left = deadline - now();
    if (left <= Duration::zero()) break;
    for (const auto& [caller, count] : flying_now->creators) {
      // The rest of the time is for the creation.
      if (const auto at = creation_rate.reserve(caller, now(), left * 3 / 4)) {
        if (*at > now()) co_await loop().sleep_until(*at);
        co_return Result<void>();
      }
    }
    if (flying_now->creators.empty()) co_return Result<void>();
    co_await loop().sleep_for(std::min(pause, left));
  }
  co_return fail(Code::kThrottled, "could not create key " + id +
                                       ": this user creates too many (creates_per_second)");
}

// A store that lost a record must not make us lose a key (fs/keys/keyring.h). The memory was asked
// at the same time as the store.
Task<Result<std::optional<CreationPass>>> Keyring::Impl::pass(KeyRef entry, Inquiry& inquiry,
                                                              const Flying& flying_now) {
  const std::string id(entry->id());
  const Recall recall = co_await inquiry.recall(!flying_now.creators.empty());
  const auto known = parts.cache.known(*entry, now());
  const bool seen_here = known.any || known.memory.known != 0 || known.memory.rkms != 0;
  if (flying_now.creators.empty() && !seen_here && recall.what != Recall::What::kKnown) {
    co_return std::optional<CreationPass>();
  }
  auto judged = judge_creation(id, recall, seen_here, parts.memory.forget());
  if (!judged) {
    tell_corrupt(id, judged.error());
    co_return fail(std::move(judged.error()));
  }
  if (flying_now.creators.empty()) co_return std::optional<CreationPass>();
  co_return std::optional<CreationPass>(std::move(*judged));
}

Task<Result<std::optional<KeyInfo>>> Keyring::describe(std::string id, TimePoint deadline,
                                                       ForUser caller) {
  if (is_signing_record_id(id)) co_return std::optional<KeyInfo>();
  if (auto admitted = impl_->admit(caller, id); !admitted) co_return fail(admitted.error());
  const WaitingPlaces::Place place(impl_->places, caller);
  FairTurns::Ticket ticket(caller);
  const FairTurns::Turn turn = co_await impl_->looks.take(ticket);
  Inquiry inquiry(impl_->source, id, deadline);
  KeyCache::Known known;
  if (const KeyRef entry = impl_->parts.cache.find(id)) {
    known = impl_->parts.cache.known(*entry, impl_->now());
  }
  const auto seen = co_await inquiry.look(std::move(known), false);
  const bool exists = seen ? seen->stored.has_value() : seen.error().code == Code::kCorrupt;
  if (exists) {
    impl_->parts.memory.note_seen(
        id, seen ? sighting_of(seen->stored->record) : sighting_of(seen.error()));
  }
  if (!seen) co_return fail(seen.error());
  if (!seen->stored) co_return std::nullopt;
  const Record& record = seen->stored->record;
  const auto current = record.versions.find(record.current);
  if (current == record.versions.end()) {
    co_return fail(Code::kCorrupt, "the record of key " + id + " lacks its current version");
  }
  KeyInfo info;
  info.state = record.state;
  info.version = record.current;
  info.bytes = current->second.bytes;
  info.created = from_rfc3339(current->second.created).value_or(WallTime{});
  info.regions = impl_->region_list(current->second);
  for (const uint32_t number : readable_versions(record)) {
    const Version& version = record.versions.at(number);
    info.versions[number] = {version.bytes, from_rfc3339(version.created).value_or(WallTime{}),
                             impl_->region_list(version)};
  }
  co_return info;
}

}  // namespace keyfs
