// Custody `wrapped`: a PKCS #8 key made here in locked memory, wrapped in all regions, and kept on a
// shelf (a store) like a data key. It signs in microseconds, and works wherever data keys do.
//
// A reference is ID/VERSION/FINGERPRINT. create() makes and wraps a key, and keeps it in memory only:
// point() saves it by one conditional write, so that nothing is left behind when anything before it
// fails. The private half is in locked memory while it is used (`keep_for`), and never in a file.
//
// Thread-safety, ownership, blocking, errors: as kms/signing/custody.h. Signing runs on worker
// threads, so that an RSA signature does not hold the loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "base/secret.h"
#include "kms/regions.h"
#include "kms/signing/custody.h"

namespace keyfs {

// One version of a wrapped signing key, as it is kept. Never plaintext.
struct ShelvedVersion {
  uint32_t number = 0;
  SigningKeyType type = SigningKeyType::kEcP256;
  std::string public_der;  // raw bytes
  std::string created;     // RFC 3339
  WrappedKeys wrapped;     // by region; empty: destroyed
  KeyCheckValue check{};   // of the PKCS #8 bytes
  uint32_t bytes = 0;      // of them
};

struct Shelved {
  std::string name;
  bool disabled = false;
  bool deleted = false;
  uint32_t current = 0;
  std::vector<ShelvedVersion> versions;
  std::string origin;    // of the store that it was made in
  uint64_t serial = 0;   // the shelf raises it with each change of state or current
  uint32_t last = 0;     // the highest version ever, never used again; 0: there was none
  std::string revision;  // opaque; for save()
};

// Where they are kept. Thread-safety, blocking, errors: as store/store.h.
class SigningShelf {
 public:
  virtual ~SigningShelf() = default;
  // The id of the store that new wraps are bound to.
  virtual Task<Result<std::string>> origin(TimePoint deadline) = 0;
  virtual Result<void> check_name(const std::string& name) const = 0;
  // What wraps and check values are bound to: the id of the name's record.
  virtual std::string record_id(const std::string& name) const = 0;
  virtual Task<Result<std::vector<std::string>>> names(TimePoint deadline) = 0;
  virtual Task<Result<std::optional<Shelved>>> get(std::string name, bool strong,
                                                   TimePoint deadline) = 0;
  // `shelved.revision` empty: there must be none yet. nullopt: somebody else was first, or it was
  // changed since.
  virtual Task<Result<std::optional<Shelved>>> save(Shelved shelved, TimePoint deadline) = 0;
};

struct WrappedCustodyOptions {
  // A private key stays in locked memory for so long after its record was last confirmed.
  Duration keep_for = std::chrono::minutes(5);
  // A record that was confirmed within this time is not asked for again.
  Duration fresh_for = std::chrono::seconds(30);
  // While the store does not answer, a key that is in memory signs for so long after that.
  Duration serve_stale_for = std::chrono::hours(24);
  size_t keys_in_memory = 1024;
  // Told of the record id of a key that lacks regions, or has a wrap that is wrong; may be empty.
  std::function<void(const std::string& id)> degraded;
};

std::unique_ptr<Custody> make_wrapped_custody(Loop& loop, SecretArena& arena, Random& random,
                                              Regions& regions, SigningShelf& shelf,
                                              WrappedCustodyOptions options = {});

}  // namespace keyfs
