// Get-or-create over a store, the regions and this host's replica of records.
//
// Above all: a version of an id has one plaintext, forever. A new key is created only after a
// successful, strongly consistent miss of the store, for a caller who may create, and only if this
// host has certainly never seen the id (fs/keys/creation_gate.h); never because a key could not be
// read, and never because of the memory's miss alone. The loser of a creation race wipes its key
// and serves the winner's. After every unwrap the key check value is compared. A created key is
// served only once the store has confirmed that its record is ours.
//
// Nothing goes back: a record is compared with what this host knows about it, in the entry and in
// the replica (fs/keys/record_memory.h), and with the cached keys of all its versions, before a key
// is served, confirmed or noted. A key whose record is found damaged, or went back, is dropped from
// the cache.
//
// Each version is read by its number until the record retires or destroys it. A record that was
// accepted takes effect on all cached versions at once (KeyCache::follow()).
//
// Thread-safety: none; everything on the loop's thread (Loop::post is the way in). Ownership:
// refers to the members of KeyringParts, which must outlive it; drop its tasks first, then call
// Loop::shutdown().
// Blocking: never; each call is a task. Dropping a task leaves its flight; the last one to leave
// cancels it, unless a record is being written. Errors: see open().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/fair_turns.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/keys/creation.h"
#include "fs/keys/data_key.h"
#include "fs/keys/key_cache.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

class HostMemory;

struct Opened {
  SharedKey key;
  KeySource source = KeySource::kNone;
  bool created = false;  // for this open, not for another one that waited for the same key
  // If so: whoever tells of it says so there.
  std::shared_ptr<Creation> creation = {};
};

struct OpenRequest {
  KeyRef entry;
  bool may_create = false;
  uint32_t version = 0;  // 0: the current one
  TimePoint deadline;
  ForUser caller{};     // who waits for it
  bool strong = false;  // do not use answers from the store that may be stale
  // Told of the creation, if it is done for this opener; may be null.
  std::shared_ptr<CreationWitness> witness;

  OpenRequest(KeyRef key_entry, bool create, TimePoint until, uint32_t wanted_version = 0)
      : entry(std::move(key_entry)), may_create(create), version(wanted_version), deadline(until) {}
};

// Receives what is worth counting. On the loop's thread; must not block.
class KeyringObserver {
 public:
  virtual ~KeyringObserver() = default;
  virtual void on_opened(KeySource source, bool created, Duration took) = 0;
  virtual void on_failed(const Error& error) = 0;
  virtual void on_refreshed(bool ok) = 0;
  virtual void on_lost_race() = 0;
  // A record that lacks a region, or has a wrong wrap: work for the healer.
  virtual void on_degraded(const std::string& id, bool suspect) = 0;
  // A key that was served is now known to be disabled or deleted, or can't be served any more
  // because its record is damaged (`version` 0); or that version of it is now known to be retired
  // or destroyed, whether it was served here or not. May be called again for the same.
  virtual void on_ended(const KeyEntry& entry, uint32_t version) = 0;
  // From now on the plain name gives `to`, never `from`. Of entries that somebody refers to, or
  // whose key is cached.
  virtual void on_current_changed(const KeyEntry& entry, uint32_t from, uint32_t to) = 0;
  // An id was created here: listings are out of date.
  virtual void on_created(const std::string& id) = 0;
};

struct KeyringOptions {
  uint32_t key_bytes = 32;
  Duration open_deadline = std::chrono::seconds(10);  // for refreshes, which nobody waits for
  size_t waiting_opens = 16'384;  // a caller may have half of those that others leave free
  // Concurrent work; a caller may have half of what others leave free. The rest waits for its
  // caller's turn.
  size_t fetches_at_once = 128;
  size_t creations_at_once = 64;
  // For each caller; a burst may be ten times as large.
  double creates_per_second = 50;
  // A store that has not answered for this long counts as down for this open, and the replica is
  // used; if the replica does not have the record, the open keeps waiting for the store.
  Duration store_patience = std::chrono::seconds(1);
  size_t refreshes = 64;  // concurrent background checks; the others wait for their turn
  std::string creator;    // the creator in new records: the host's name
};

struct KeyringParts {
  Loop& loop;
  Store& store;
  Regions& regions;
  KeyCache& cache;
  SecretArena& arena;
  Log& log;
  HostMemory& memory;
  KeyringObserver* observer = nullptr;  // may be null
};

class Keyring final : public ChangeListener {
 public:
  Keyring(KeyringParts parts, KeyringOptions options);
  ~Keyring() override;
  Keyring(const Keyring&) = delete;
  Keyring& operator=(const Keyring&) = delete;

  // The key, for a caller who may read it; nullopt: there is no such key, and the caller may not
  // create it, or no such version that was ever current. Checks the cache first, for callers whose key was fetched while they queued. Errors:
  //   kRevoked     the key is disabled or deleted, or the version was retired or destroyed
  //   kCorrupt     the record does not parse, is for another id, its wraps or check value are
  //                wrong, it contradicts what this host knows, or the store lost it; logged with
  //                its id, never repaired by creating a new key
  //   kTimeout     the deadline passed
  //   kThrottled   too many opens are waiting (of this caller, or in total), this caller creates
  //                too many keys, or all regions are over quota
  //   kDenied      every region refused
  //   kUnauthenticated, kUnavailable, kInvalid   from the store and the regions; a store that
  //                refuses keyfs is kUnavailable (as_outage())
  Task<Result<std::optional<Opened>>> open(OpenRequest request);

  // Checks a cached key against the store in the background (KeyCache::Peek::kServeAndRefresh).
  // Returns at once. Where the store does not answer, the key stays as it is until it is too old.
  void refresh(KeyRef entry);

  // What the store (or, if it is down, this host's memory) says about an id, without unwrapping;
  // nullopt: absent. Errors: the store's, and kCorrupt as open()'s.
  Task<Result<std::optional<KeyInfo>>> describe(std::string id, TimePoint deadline,
                                                ForUser caller = {});

  // Opens that are waiting now.
  size_t waiting() const;
  size_t flights() const;  // ids (and versions) being fetched or created for them
  // Waits until no new record is on its way to the store. When the mount ends: one task at a time.
  Task<Result<bool>> settled();

  // ChangeListener: the feed of a store that can be watched.
  void on_change(const std::string& id, const std::optional<Stored>& stored) override;
  void on_gap() override;
  void on_live(bool live, TimePoint as_of) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
