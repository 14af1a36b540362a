// Internals of the keyring, for its own source files only.
//
// One flight per id (and version) does the work for all waiters; see fs/keys/keyring.h.
#pragma once

#include <algorithm>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fair_turns.h"
#include "fs/keys/creation_gate.h"
#include "fs/keys/fair_share.h"
#include "fs/keys/inquiry.h"
#include "fs/keys/key_check.h"
#include "fs/keys/keyring.h"
#include "fs/keys/record_source.h"

namespace keyfs {

// A flight's result for all its waiters.
struct Landed {
  SharedKey key;  // null: there is no such key, and no waiter may create it
  KeySource source = KeySource::kNone;
  bool created = false;                     // for one of its waiters
  std::shared_ptr<Creation> creation = {};  // of a created key
};
using Flights = SingleFlight<Result<Landed>>;

// The created key, or the winner's record.
struct Created {
  SharedKey key;
  std::optional<Stored> winner;
};

// How often an answer is discarded because a change was announced while it was in flight.
constexpr int kLooks = 5;

struct Keyring::Impl {
  // A waiter for a key who may create it.
  struct Asker {
    ForUser caller;
    uint64_t opener;  // which open of all it is
    std::shared_ptr<CreationWitness> witness;
  };
  // The waiters for one key.
  struct Flying {
    explicit Flying(ForUser caller) : ticket(caller) {}
    FairTurns::Ticket ticket;            // of all current and past waiters
    std::map<ForUser, size_t> creators;  // how many waiters may create it; none is 0
    std::list<Asker> askers;             // they, the longest waiting first
  };
  // Notices that a change of an id was announced while something else was going on.
  class Watch {
   public:
    Watch(Impl& keyring, const std::string& id) : keyring_(keyring) {
      place_ = keyring.watches.emplace(id, this);
    }
    ~Watch() { keyring_.watches.erase(place_); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    void reset() { changed = false; }
    bool changed = false;

   private:
    Impl& keyring_;
    std::multimap<std::string, Watch*>::iterator place_;
  };
  // Lives in the frame of a flight's work, and so ends with the flight.
  class FlightEnd {
   public:
    FlightEnd(Impl& keyring, std::string key) : keyring_(&keyring), key_(std::move(key)) {}
    FlightEnd(FlightEnd&& other) noexcept
        : keyring_(std::exchange(other.keyring_, nullptr)), key_(std::move(other.key_)) {}
    FlightEnd& operator=(FlightEnd&&) = delete;
    ~FlightEnd() {
      if (keyring_ != nullptr) keyring_->flying.erase(key_);
    }

   private:
    Impl* keyring_;
    std::string key_;
  };
  // Has a waiter counted who may create it.
  struct Creator {
    Creator(Flying& flight, Asker asker) : flying(flight) {
      ++flying.creators[asker.caller];
      mine_ = flying.askers.insert(flying.askers.end(), std::move(asker));
    }
    ~Creator() {
      const auto mine = flying.creators.find(mine_->caller);
      flying.askers.erase(mine_);
      if (--mine->second == 0) flying.creators.erase(mine);
    }
    Creator(const Creator&) = delete;
    Creator& operator=(const Creator&) = delete;
    bool made(const Creation& creation) const { return creation.is_for(mine_->opener); }
    Flying& flying;

   private:
    std::list<Asker>::iterator mine_;
  };
  // A record is on its way to the store.
  class Writing {
   public:
    explicit Writing(Impl& keyring) : keyring_(keyring) { ++keyring_.writing; }
    ~Writing() {
      if (--keyring_.writing == 0 && keyring_.all_written != nullptr) {
        keyring_.all_written->set(true);
      }
    }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    Impl& keyring_;
  };

  Impl(KeyringParts keyring_parts, KeyringOptions keyring_options)
      : parts(keyring_parts),
        options(std::move(keyring_options)),
        source(parts.loop, parts.store, parts.memory, parts.log,
               {.serve_stale_for = parts.cache.options().serve_stale_for,
                .store_patience = options.store_patience}),
        places(options.waiting_opens),
        creation_rate(options.creates_per_second, 10 * options.creates_per_second),
        fetches(parts.loop, options.fetches_at_once),
        looks(parts.loop, std::max<size_t>(1, options.fetches_at_once / 2)),
        creations(parts.loop, options.creations_at_once),
        flights(parts.loop) {}

  Loop& loop() { return parts.loop; }
  TimePoint now() const { return parts.loop.now(); }

  Task<Result<std::optional<Opened>>> open(OpenRequest request);
  Task<Result<Landed>> fly(OpenRequest request, TimePoint deadline);
  Task<Result<Landed>> fetch(OpenRequest request, TimePoint deadline,
                             std::shared_ptr<Flying> flying_now, Flights::Flight* flight,
                             FlightEnd end);
  Result<void> admit(ForUser caller, const std::string& id);
  // Waits until one of the waiters may create one more key; kThrottled if that is too late.
  Task<Result<void>> keep_to_rate(std::string id, std::shared_ptr<Flying> flying_now,
                                  TimePoint deadline);
  // nullopt: it is absent, and no current waiter may create it.
  Task<Result<std::optional<CreationPass>>> pass(KeyRef entry, Inquiry& inquiry,
                                                 const Flying& flying_now);
  Task<Result<Created>> create(OpenRequest request, CreationPass pass, TimePoint deadline,
                               Flights::Flight* flight, uint32_t epoch,
                               std::shared_ptr<Creation> creation);
  // Why the record can't be a successor of what is known of the entry by now; or why it is not the
  // record of the keys that are cached.
  std::optional<Error> contradiction(const KeyEntry& entry, const Record& record);
  // The record was verified: later records must not go back from it, and it takes effect.
  void accept(KeyEntry& entry, const Inquiry::Seen& seen);
  // The same without noting it in the host's memory.
  void follow(KeyEntry& entry, const Record& record);
  Task<Result<SharedKey>> unwrap(const Record& record, uint32_t version, TimePoint deadline);
  Result<void> make_room(size_t bytes);
  SharedKey make_data_key(SecretBytes key, const Record& record, uint32_t version,
                          const std::string& region);
  RegionList region_list(const Version& version);
  void tell_degraded(const Record& record, uint32_t version, bool suspect);
  void revoke(KeyEntry& entry, uint32_t epoch);
  void tell_corrupt(const std::string& id, const Error& error);
  // Its record is damaged: the key is no longer served.
  void condemn(KeyEntry& entry, const Error& error, Sighting what = Sighting::kUnproven);

  void start_refresh(KeyRef entry);
  Task<void> run_refreshes();
  enum class Check { kRight, kFailed, kUnproven, kBehind };
  Task<Check> refresh(KeyRef entry);
  // Whether the cached key was unwrapped from these.
  bool has_same_wraps(const KeyEntry& entry, const Version& version) const;
  void check_behind(const KeyRef& entry);
  // Whether another version than the one that the plain name gives is now the record's current one,
  // and can be fetched before it takes its place.
  bool is_overtaken(const KeyEntry& entry, const Record& record) const;
  Task<void> cool_down(KeyRef entry, Check check);

  const KeyringParts parts;
  const KeyringOptions options;
  RecordSource source;
  std::multimap<std::string, Watch*> watches;
  std::map<std::string, std::shared_ptr<Flying>> flying;
  WaitingPlaces places;
  CreationRate creation_rate;
  FairTurns fetches;
  FairTurns looks;  // at records alone: they do not wait for regions that hang
  FairTurns creations;
  uint64_t askers = 0;                   // so far
  size_t writing = 0;                    // records on their way to the store
  OneShot<bool>* all_written = nullptr;  // of settled()
  Flights flights;                       // destroyed before what its work refers to
  std::deque<KeyRef> to_refresh;
  size_t refreshing = 0;
  RegionList last_list;
  // Ids whose RKMS item was refused: only their entries know which key is the right one.
  std::map<std::string, KeyRef> pinned;
};

}  // namespace keyfs
