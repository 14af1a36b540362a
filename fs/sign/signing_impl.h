// What SigningKeys consists of: signing_keys.cc (what is known, signing), names.cc (asking the
// custodies), generate.cc (changes), unheard.cc (keys whose creation nobody heard of), upkeep.cc (what
// goes on by itself).
//
// Thread-safety, ownership, blocking, errors: as SigningKeys.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/lazy_worker.h"
#include "base/race.h"
#include "base/wake.h"
#include "fs/sign/behind.h"
#include "fs/sign/creation_cap.h"
#include "fs/sign/deletion_queue.h"
#include "fs/sign/id_turns.h"
#include "fs/sign/journal.h"
#include "fs/sign/known_names.h"
#include "fs/sign/name_keeper.h"
#include "fs/sign/public_keys.h"
#include "fs/sign/signing_keys.h"

namespace keyfs {

struct SigningKeys::Impl {
  Impl(Parts parts, SigningOptions o);

  // signing_keys.cc
  SigningKeyPtr find(std::string_view id) const;
  std::vector<SigningKeyPtr> all() const;
  void publish(SigningKeyPtr key);
  void forget(const std::string& id);
  void doubt(std::string_view id);
  bool fresh(const SigningKey& key) const;
  Custody* custody_of(std::string_view kind) const;
  Task<Result<SigningKeyPtr>> resolve(std::string id, TimePoint deadline);
  Task<Result<SignOutcome>> sign(DigestRequest request);
  Task<Result<SignOutcome>> sign_now(DigestRequest request);
  Task<Result<SigningKeyPtr>> look_if_doubted(SigningKeyPtr key, TimePoint deadline);
  Task<void> renew(std::string id);
  Error failed(Error error);  // kept for status()

  // names.cc
  // Who may use ids that match a glob can name any number of them: those that are not known are
  // asked for at a bounded rate.
  enum class Asks { kForOwnReasons, kForAnyId };
  Task<Result<SigningKeyPtr>> look(std::string id, TimePoint deadline,
                                   Asks asks = Asks::kForOwnReasons);
  Task<Result<SigningKeyPtr>> ask(std::string id, TimePoint deadline, Asks asks);
  void told_damage(const std::string& id, std::string_view kind, const Error& error);
  Result<void> may_ask_for_unknown(const std::string& id);
  Task<Result<SigningKeyPtr>> take_over(std::string id, Custody* custody, NamedKey named,
                                        TimePoint begun, uint64_t since, TimePoint deadline);
  Task<Result<void>> load(TimePoint deadline);
  Task<Result<void>> list(TimePoint deadline);
  Task<bool> take_over_listed(NamedKey named, Custody* custody, TimePoint begun, uint64_t since,
                              TimePoint deadline);
  Task<void> note_name(const Custody& custody, std::string id, std::string key);
  // A change of this process's own, so that answers asked for before it do not count.
  void changed(const std::string& id, std::string left);
  bool changed_since(const std::string& id, uint64_t since) const;
  bool just_changed(const std::string& id) const;
  bool just_left(const std::string& id, const std::string& key) const;

  // generate.cc
  struct Birth;
  Task<Result<SigningKeyPtr>> generate(GenerateRequest request);
  Task<Result<void>> keep_reference(Birth& birth, std::string key);
  Task<Result<PublicKeyPtr>> bring_up(Birth& birth);
  Task<Result<SigningKeyPtr>> name_it(Birth& birth, PublicKeyPtr public_key);
  Task<Result<Pointed>> point(Birth& birth);
  Task<Result<SigningKeyPtr>> succeed(Birth& birth, PublicKeyPtr public_key, std::string behind);
  void leave(Birth& birth);
  Task<Error> give_up(Birth& birth, Error why, Duration wait);
  Task<Result<SigningKeyPtr>> set_enabled(std::string id, bool enabled, TimePoint deadline);
  Task<Result<SigningKeyPtr>> remove(std::string id, TimePoint deadline);
  Task<Result<BegunEntryPtr>> begin(Begun what);
  Task<void> finish(BegunEntryPtr entry);
  Task<void> give_back(WallTime counted);
  Task<Result<void>> doom(Doomed doomed);
  // Runs to its end, whoever waits.
  template <class Work>
  Task<Result<SigningKeyPtr>> to_the_end(Work work) {
    // Named, each: g++ 12 destroys what is converted within a co_await twice.
    Flights::Work started = [work = std::move(work)](Flights::Flight& flight) {
      flight.pin();
      return work();
    };
    auto joined = changes_running.join(std::to_string(++change_number), std::move(started));
    co_return co_await std::move(joined);
  }

  // unheard.cc
  static Result<std::string> new_token();
  Task<bool> settle_unheard(BegunEntryPtr entry, TimePoint deadline);
  // Why it is not found yet; empty: it was not looked for, or it was found.
  std::string why_unheard(const std::string& path) const;
  // So long it is looked for again and again.
  static constexpr Duration kSeenWithin = std::chrono::minutes(10);

  // upkeep.cc
  Task<void> run();
  Task<bool> list_for_ever();
  Task<bool> tidy_for_ever();
  Task<bool> keep_for_ever();
  Task<bool> tidy(TimePoint deadline);
  Task<bool> settle_entry(BegunEntryPtr entry, TimePoint deadline);
  Task<bool> is_known_everywhere(BegunEntryPtr entry, Custody& custody);
  void tell_behind(const BegunEntry& entry, const std::string& reason);
  Task<Result<bool>> delete_one(Doomed doomed);
  Task<void> name_moved(std::string id);
  Task<Result<std::set<std::string>>> concerned();
  WallTime wall_in(Duration wait) const {
    return loop.clock().wall() + std::chrono::duration_cast<std::chrono::milliseconds>(wait);
  }

  using Flights = SingleFlight<Result<SigningKeyPtr>>;
  // What this process remembers of an id beside its key.
  struct Notes {
    uint64_t changed = 0;  // the number of its last change
    TimePoint changed_at{};
    std::string left;          // the reference that it was moved away from
    uint64_t doubted = 0;      // the number of its last doubt
    TimePoint asked{};         // when it was last asked for
    uint64_t asked_since = 0;  // the number of the last change or doubt then
  };

  // For a key whose creation nobody heard of.
  struct Search {
    unsigned tries = 0;
    TimePoint next{};
    std::string reason;  // why it is not over
  };

  Loop& loop;
  Log& log;
  const RandomFraction random;
  const std::vector<Custody*> custodies;
  const SigningOptions options;

  mutable std::mutex mutex;  // guards the next three
  std::map<std::string, SigningKeyPtr, std::less<>> keys;
  SigningStatus counts;  // only its numbers and last_error
  bool loaded = false;

  std::map<std::string, Notes, std::less<>> notes;
  std::map<std::string, TimePoint, std::less<>> absent;  // until when that is believed
  double unknown_tokens;                                 // for ids that are not known
  TimePoint unknown_at;
  uint64_t changes = 0;
  uint64_t change_number = 0;
  std::atomic<size_t> left_unfinished = 0;  // begun by others, or given up, when last looked at
  std::atomic<size_t> births = 0;           // begun here
  std::set<std::string> told_damaged;
  std::set<std::string> told_behind;       // entries' paths
  std::map<std::string, Search> searches;  // by the entry's path

  LazyWorker worker;
  Journal journal;
  CreationCap cap;
  DeletionQueue doomed;
  PublicKeys public_keys;
  KnownNames known_names;
  NameKeeper keeper;
  Wake list_wake;
  Wake tidy_wake;
  IdTurns turns;
  Flights looks;
  Flights changes_running;
  Behind behind;
};

}  // namespace keyfs
