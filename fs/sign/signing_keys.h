// The signing keys of this process: which there are, signing with them, and their life cycle.
//
// A new key takes an id's place in five steps: create, public key, sign and verify once, move the
// name, keep the old one for a grace time. Until the name is moved the old key signs. What was begun
// is on disk before the custody is asked to create anything, so that a key that did not get its name
// is deleted after any failure or crash (journal.h). Signing never waits for a life cycle's step.
//
// Thread-safety: find(), all() and status() from any thread; the rest on the loop's. Ownership:
// refers to its parts, which outlive it; the tasks of its methods end before it. Blocking: never;
// disk is touched on a worker. Errors: as kms/signing/custody.h, with the id in the message; kInvalid
// also for an id that is not valid.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/retry.h"
#include "kms/signing/custody.h"

namespace keyfs {

// A signing key as it is now. Immutable: a change makes another one.
struct SigningKey {
  std::string id;
  std::string custody;      // "kms", "wrapped"
  std::string key;          // the custody's reference
  PublicKeyPtr public_key;  // null where it is not known: `problem` says why
  bool disabled = false;    // or pending deletion
  std::string problem;      // empty: none
  TimePoint confirmed{};    // when the custody last said that the id refers to this key
  bool damaged = false;     // `problem` is kCorrupt: its record is damaged, or was lost
};
using SigningKeyPtr = std::shared_ptr<const SigningKey>;

struct SignedDigest {
  Signature signature;
  SigningKeyPtr by;
};

struct DigestRequest {
  std::string id;
  std::string pinned;  // a fingerprint; empty: whichever key is current
  SigningAlgorithm algorithm = SigningAlgorithm::kEcdsaSha256;
  std::string digest;  // raw bytes
  TimePoint deadline;

  DigestRequest(std::string i, std::string p, SigningAlgorithm a, std::string d, TimePoint t)
      : id(std::move(i)), pinned(std::move(p)), algorithm(a), digest(std::move(d)), deadline(t) {}
};

struct GenerateRequest {
  enum class Mode {
    kCreate,  // there must be none: kInvalid otherwise
    kRotate,  // there must be one; of the same type unless `type` is set
    kPut,     // either: SPIRE's GenerateKey
  };
  std::string id;
  std::optional<SigningKeyType> type;
  std::string custody;  // empty: that of the present key, otherwise the first
  Mode mode = Mode::kPut;
  TimePoint deadline;

  GenerateRequest(std::string i, std::optional<SigningKeyType> t, std::string c, Mode m,
                  TimePoint d)
      : id(std::move(i)), type(t), custody(std::move(c)), mode(m), deadline(d) {}
};

struct SigningOptions {
  std::string directory;  // for what survives a restart (state_dir/signing); made if not there
  // How long an id's key is believed without asking the custody; the answer is renewed behind it.
  Duration fresh_for = std::chrono::seconds(30);
  Duration list_every = std::chrono::minutes(5);
  Duration grace =
      std::chrono::hours(1);  // an old key signs on under its reference, then is deleted
  Duration keep_alive_every = std::chrono::hours(6);
  Duration stale_siblings_after = std::chrono::hours(24 * 14);
  Duration nameless_after = std::chrono::hours(48);
  Duration dispose_every = std::chrono::hours(24);
  bool keeps_alive = false;   // writes its names again every keep_alive_every
  bool disposes = false;      // of strays: never for hosts that share their names
  bool lists = true;          // asks for all names at the start and every list_every
  size_t starts_at_once = 8;  // GetPublicKey calls at the start
  unsigned keys_per_hour = 20;
  Duration step = std::chrono::seconds(10);  // the deadline of each step that nobody waits for
};

struct SigningStatus {
  struct Key {
    std::string id, custody, key, type, fingerprint, state, problem;
  };
  std::vector<Key> keys;
  size_t queued_deletions = 0;
  std::string deletion_trouble;  // of the one that fails for longest
  size_t unfinished = 0;         // that were begun and have not got their name
  uint64_t signatures = 0, failures = 0, made = 0, deleted = 0, disposed = 0;
  std::string last_error;
};

class SigningKeys {
 public:
  struct Parts {
    Loop& loop;
    Log& log;
    RandomFraction random;
    std::vector<Custody*> custodies;  // by preference; ids are looked for in this order
  };
  // Blocks: makes and reads the directory. kUnavailable, kDenied if it cannot be used.
  static Result<std::unique_ptr<SigningKeys>> open(Parts parts, SigningOptions options);
  ~SigningKeys();
  SigningKeys(const SigningKeys&) = delete;
  SigningKeys& operator=(const SigningKeys&) = delete;

  // What is known now, without asking anybody; null: no key of that id is known.
  SigningKeyPtr find(std::string_view id) const;
  std::vector<SigningKeyPtr> all() const;  // by id

  // Reads all names, then the public keys that are not on disk, a bounded number at once. An error
  // only if no names could be read: a key that cannot be used is named in status().
  Task<Result<void>> load(TimePoint deadline);
  // The key of an id, from the custody if it is not known or no longer fresh; null: there is none.
  Task<Result<SigningKeyPtr>> resolve(std::string id, TimePoint deadline);
  // kStale below, kRevoked; an id that does not exist is a null `by`.
  struct SignOutcome {
    std::optional<SignedDigest> done;  // neither: there is no such key
    bool stale = false;                // pinned, and no longer current (ESTALE)
  };
  Task<Result<SignOutcome>> sign(DigestRequest request);

  Task<Result<SigningKeyPtr>> generate(GenerateRequest request);
  Task<Result<SigningKeyPtr>> set_enabled(std::string id, bool enabled, TimePoint deadline);
  // The name goes, the key is deleted after the custody's waiting time. False: there was none.
  Task<Result<bool>> remove(std::string id, TimePoint deadline);

  // Works until dropped: lists, keeps names alive, deletes what is due, disposes of strays. Starts
  // with what was left over on disk.
  Task<void> run();
  // Looks at once for what others have left on disk, and lists the names anew.
  void wake();
  // Works off what is due now, once; for commands. True: nothing is left that could be done now.
  Task<bool> settle(TimePoint deadline);

  // This id may have been changed elsewhere: it is not believed any longer.
  void doubt(std::string_view id);

  SigningStatus status() const;

  // How much waits for the disk now; for clocks that are moved by a test. On the loop's thread.
  size_t at_the_disk() const;

 private:
  struct Impl;
  explicit SigningKeys(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
