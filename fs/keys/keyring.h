// Get-or-create over a store, the regions and this host's replica of records.
//
// The law above all: an id's version has one plaintext for ever. A new key is made only after a
// successful, strongly consistent miss of the store, for a caller who may create; never because a
// key could not be read, never from the memory's miss alone, and only when this host has never seen
// the id for certain (fs/keys/creation_gate.h). Whoever loses the race of a creation wipes its key
// and serves the winner's. After every unwrap the key check value is compared. A creation is served
// only once the store has confirmed that its record is ours.
//
// Nothing goes back: what a record says is held against what this host knows of it, by entry and by
// replica (fs/keys/record_memory.h), before a key is served, confirmed or noted. A key whose record
// turns out to be damaged or to have gone back is dropped from the cache.
//
// Thread-safety: none but metrics; everything on the loop's thread (Loop::post is the way in).
// Ownership: refers to what KeyringParts names, all of which outlives it; whoever runs its tasks
// drops them first, then calls Loop::shutdown().
// Blocking: never; each call is a task. Dropping a task leaves its flight; the last one out cancels
// it, unless a record is being written.
// Errors of open():
//   kRevoked          the key is disabled or deleted
//   kCorrupt          the record does not parse, is of another id, its wraps or its check value are
//                     not what was written, it takes back what this host knows of it, or the
//                     store lost it; logged with its name, never mended by making a new key
//   kTimeout          the deadline passed
//   kThrottled        too many opens wait already (of this caller, or in all), this caller creates
//                     too many keys, or all regions are over quota
//   kDenied, kUnauthenticated, kUnavailable, kInvalid: of the store and the regions
// Absent (nullopt): there is no such key and the caller may not create it.
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
#include "fs/keys/data_key.h"
#include "fs/keys/key_cache.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

class HostMemory;

struct Opened {
  SharedKey key;
  KeySource source = KeySource::kNone;
  bool created = false;  // by this very open or by another that waited for the same
};

struct OpenRequest {
  KeyRef entry;
  bool may_create = false;
  uint32_t version = 0;  // 0: the current one
  TimePoint deadline;
  ForUser caller{};     // who waits for it
  bool strong = false;  // go by no answer of the store's that may be old

  OpenRequest(KeyRef key_entry, bool create, TimePoint until, uint32_t wanted_version = 0)
      : entry(std::move(key_entry)), may_create(create), version(wanted_version), deadline(until) {}
};

// Hears what is worth counting. On the loop's thread; must not block.
class KeyringObserver {
 public:
  virtual ~KeyringObserver() = default;
  virtual void on_opened(KeySource source, bool created, Duration took) = 0;
  virtual void on_failed(const Error& error) = 0;
  virtual void on_refreshed(bool ok) = 0;
  virtual void on_lost_race() = 0;
  // A record that lacks a region, or one of whose wraps is wrong: work for the healer.
  virtual void on_degraded(const std::string& id, bool suspect) = 0;
  // A key that was served is disabled or deleted, or can't be served any more since its record is
  // damaged, as was just learned. Told each time.
  virtual void on_ended(const KeyEntry& entry) = 0;
  // An id was made here: listings are out of date.
  virtual void on_created(const std::string& id) = 0;
};

struct KeyringOptions {
  uint32_t key_bytes = 32;
  Duration open_deadline = std::chrono::seconds(10);  // of refreshes, which nobody waits for
  size_t waiting_opens = 16'384;  // a caller may have half of those that others do not
  // Work that is under way at once; a caller may have half of what others do not have of it. The
  // rest waits for its caller's turn.
  size_t fetches_at_once = 128;
  size_t creations_at_once = 64;
  // Of each caller; ten times as many after a quiet while.
  double creates_per_second = 50;
  // A store that has not answered for so long is taken to be out for this open, and the replica is
  // looked at; the store goes on being waited for when the replica does not have the record.
  Duration store_patience = std::chrono::seconds(1);
  size_t refreshes = 64;  // background checks under way at once; the others wait for their turn
  std::string creator;    // what new records name as their maker: the host's name
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

  // The key, for a caller who may read it. Looks at the cache first, so that whoever waited in a
  // queue meanwhile pays nothing.
  Task<Result<std::optional<Opened>>> open(OpenRequest request);

  // Checks a cached key against the store in the background (KeyCache::Peek::kServeAndRefresh).
  void refresh(KeyRef entry);

  // What the store (or, when it is out, this host's memory) tells of an id, without unwrapping;
  // nullopt: absent.
  Task<Result<std::optional<KeyInfo>>> describe(std::string id, TimePoint deadline);

  // Opens that wait now.
  size_t waiting() const;
  size_t flights() const;

  // ChangeListener: the feed of a store that can be watched.
  void on_change(const std::string& id, const std::optional<Stored>& stored) override;
  void on_gap() override;
  void on_live(bool live, TimePoint as_of) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
