// Custody: where signing keys are kept, and sign without being seen. AWS KMS (kms_custody.h), or
// wrapped in all regions (wrapped_custody.h).
//
// A key has a reference that never names another one (KMS: its ARN; wrapped: ID/VERSION/TOKEN).
// Names ("ca") refer to keys: a name is moved to a new key in one step, and the old key goes on
// signing under its reference until it is deleted. A custody holds the names of one owner and sees
// no others.
//
// Thread-safety: none; on the loop's thread. Blocking: never; each call is a task; dropping it
// cancels the call, except that what was sent may still take effect. Ownership: the custody outlives
// its tasks. Deadlines: `deadline` bounds the whole call with its retries; after it kTimeout.
// Errors, of every call:
//   kRevoked          the key is disabled, pending deletion, deleted or not there: it never signs
//   kDenied           permission is missing
//   kUnauthenticated  credentials are missing, or refused even after renewal
//   kThrottled, kUnavailable, kTimeout   another try may work
//   kCorrupt          an answer that cannot be right: another key, a signature that does not verify
//   kInvalid          refused without a call, or a bug in keyfs
// An error of create() or point() whose outcome is unknown says so in its message: ask find(), or
// delete the key all the same. A key whose reference is not known is asked for with made().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check_item.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "kms/signing/key_types.h"
#include "kms/signing/public_key.h"

namespace keyfs {

struct NamedKey {
  std::string name;
  std::string key;                    // its reference
  std::optional<WallTime> refreshed;  // when the name was last written; nullopt: not known
  bool disabled = false;              // known to be (wrapped); KMS tells only when asked to sign
};

struct CreateKeyRequest {
  std::string name;  // that it is meant for; it is not moved yet
  SigningKeyType type = SigningKeyType::kEcP256;
  // What made() finds the key by, should its reference never become known: 16 random hex digits.
  // Empty: nothing does. Ignored where create() leaves no strays.
  std::string token;
  // Called with the reference at once when it is known, before anything else is done with the key
  // (replication, self-test), so that it can be kept on disk.
  std::function<Task<Result<void>>(std::string key)> on_reference;

  CreateKeyRequest(std::string n, SigningKeyType t) : name(std::move(n)), type(t) {}
};

struct SignRequest {
  std::string key;  // reference
  PublicKeyPtr public_key;
  SigningAlgorithm algorithm = SigningAlgorithm::kEcdsaSha256;
  std::string digest;  // raw bytes

  SignRequest(std::string k, PublicKeyPtr p, SigningAlgorithm a, std::string d)
      : key(std::move(k)), public_key(std::move(p)), algorithm(a), digest(std::move(d)) {}
};

struct Signature {
  std::string bytes;       // as KMS gives it: DER for ECDSA, otherwise as long as the modulus
  std::string region;      // that signed; "" : this host (wrapped)
  std::string request_id;  // KMS's; may be empty
};

// What moving a name came to.
struct Pointed {
  bool done = false;            // it refers to the wanted key now (it may have before)
  std::optional<NamedKey> now;  // if not done: what somebody else made of it; nullopt: it is gone
  // If done: the regions where the name could not be written, and may still refer to another key;
  // keep_alive() tries again. Empty: none.
  std::string behind;
};

// What deleting a key came to.
enum class Deletion {
  kDone,      // it is pending deletion or destroyed now; or was before; or there is no such key
  kLeftAlone  // it is not this owner's, or somebody has given it a name: nothing was done
};

// A key that was found without a name, or under a name of another owner; for disposal.
struct StrayKey {
  std::string key;
  std::string alias;                  // the name's full text in the custody; empty: it has none
  std::optional<WallTime> created;    // of the key
  std::optional<WallTime> refreshed;  // of the name
  WallTime stale_before{};            // a name that was written later is not abandoned
};

class Custody {
 public:
  virtual ~Custody() = default;

  // "kms" or "wrapped".
  virtual std::string_view kind() const = 0;

  // Refuses, without a call, a name that cannot be one here: kInvalid.
  virtual Result<void> check_name(const std::string& name) const = 0;

  // All names of this owner. KMS: every page of ListAliases, nothing else.
  virtual Task<Result<std::vector<NamedKey>>> list(TimePoint deadline) = 0;
  // One name, strongly consistent where the custody can; nullopt: there is none.
  virtual Task<Result<std::optional<NamedKey>>> find(std::string name, TimePoint deadline) = 0;
  // The same, but only from where names are decided (KMS: the first region), for what cannot be
  // taken back.
  virtual Task<Result<std::optional<NamedKey>>> find_decided(std::string name, TimePoint deadline) {
    return find(std::move(name), deadline);
  }
  // What a name is known to refer to, from before this process: it is believed more than a region
  // that does not decide. Until the one that does has answered.
  virtual void remember(const std::string& /*name*/, const std::string& /*key*/) {}

  // A new key, not named yet; its reference. Where an error comes after the reference was known,
  // on_reference() was told, and the key may exist: delete it.
  virtual Task<Result<std::string>> create(CreateKeyRequest request, TimePoint deadline) = 0;

  // The reference of the key that was created with this name and token, whatever became of it;
  // nullopt: none is seen. A key that was just created may be seen only after a while.
  virtual Task<Result<std::optional<std::string>>> made(std::string name, std::string token,
                                                        TimePoint deadline);

  // kRevoked for a disabled key too.
  virtual Task<Result<PublicKeyPtr>> public_key(std::string key, TimePoint deadline) = 0;

  // Verified with request.public_key before it is returned; what does not verify is kCorrupt.
  // kInvalid, without a call, for a combination or a digest length that is none.
  virtual Task<Result<Signature>> sign(SignRequest request, TimePoint deadline) = 0;

  // Moves (or makes) a name. `from`: the reference that it must have now; nullopt: it must not
  // exist. KMS has no conditional write: there it is looked at first.
  virtual Task<Result<Pointed>> point(std::string name, std::string key,
                                      std::optional<std::string> from, TimePoint deadline) = 0;
  // Writes the name again as it is, so that it does not look abandoned; never moves it. Not done:
  // it refers to another key by now.
  virtual Task<Result<Pointed>> keep_alive(std::string name, std::string key,
                                           TimePoint deadline) = 0;
  // Removes a name, if it refers to that key. Gone already: done.
  virtual Task<Result<void>> remove_name(std::string name, std::string key, TimePoint deadline) = 0;

  // The key is never used again, and is gone for good after the waiting time (KMS: 7 days). A
  // wrapped key is destroyed at once. Only a key that carries this owner's mark for that name, and
  // has no name: somebody may have moved a name of ours to a key of theirs.
  virtual Task<Result<Deletion>> schedule_deletion(std::string name, std::string key,
                                                   TimePoint deadline) = 0;
  // Reversible. Of what the name refers to.
  virtual Task<Result<void>> set_enabled(std::string name, std::string key, bool enabled,
                                         TimePoint deadline) = 0;

  // Whether keys can be left without a name here, and other owners' names be stale: then made() and
  // the next three are used. Otherwise they give nothing.
  virtual bool leaves_strays() const { return false; }
  // Names of this owner's siblings (SPIRE: other servers of the same trust domain) older than
  // `stale_before`; never this owner's own.
  virtual Task<Result<std::vector<StrayKey>>> stale_siblings(WallTime stale_before,
                                                             TimePoint deadline);
  // Keys that carry this owner's full prefix, were created before `created_before`, have no name,
  // and are neither disabled nor pending deletion. `known` are key ids that earlier calls have
  // found to be nobody's concern: they are not asked about again, and the list is added to.
  virtual Task<Result<std::vector<StrayKey>>> nameless_keys(WallTime created_before,
                                                            std::vector<std::string>& known,
                                                            TimePoint deadline);
  // Schedules a stray's deletion, and removes its alias afterwards, if both are still as they were
  // found.
  virtual Task<Result<Deletion>> dispose(StrayKey stray, TimePoint deadline);

  // For `keyfs check`; leaves nothing behind.
  virtual Task<std::vector<CheckItem>> check(TimePoint deadline) = 0;
};

}  // namespace keyfs
