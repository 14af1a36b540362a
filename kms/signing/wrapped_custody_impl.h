// Internal to kms/signing/wrapped_custody.h: the custody's class. Making and naming keys is in
// wrapped_custody.cc, using them in wrapped_signing.cc, ending them in wrapped_ends.cc.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/lazy_worker.h"
#include "base/race.h"
#include "kms/signing/private_keys.h"
#include "kms/signing/shelf_memory.h"
#include "kms/signing/unpointed_keys.h"
#include "kms/signing/wrapped_custody.h"
#include "kms/signing/wrapped_reference.h"

namespace keyfs {

// How often a record that others keep changing is tried.
inline constexpr int kShelfTries = 8;

// What such a key does takes less than the way to another thread and back.
inline bool is_quick(SigningKeyType type) { return type == SigningKeyType::kEcP256; }

// Null: the record is damaged.
const ShelvedVersion* current_of(const Shelved& record);
std::string reference_to(const std::string& name, const ShelvedVersion& version);

class WrappedCustody final : public Custody {
 public:
  WrappedCustody(Loop& loop, SecretArena& arena, Regions& regions, SigningShelf& shelf,
                 WrappedCustodyOptions options);

  std::string_view kind() const override { return "wrapped"; }
  Result<void> check_name(const std::string& name) const override;
  Task<Result<std::vector<NamedKey>>> list(TimePoint deadline) override;
  Task<Result<std::optional<NamedKey>>> find(std::string name, TimePoint deadline) override;
  Task<Result<std::string>> create(CreateKeyRequest request, TimePoint deadline) override;
  Task<Result<PublicKeyPtr>> public_key(std::string key, TimePoint deadline) override;
  Task<Result<Signature>> sign(SignRequest request, TimePoint deadline) override;
  Task<Result<Pointed>> point(std::string name, std::string key, std::optional<std::string> from,
                              TimePoint deadline) override;
  Task<Result<Pointed>> keep_alive(std::string name, std::string key, TimePoint deadline) override;
  Task<Result<void>> remove_name(std::string name, std::string key, TimePoint deadline) override;
  Task<Result<Deletion>> schedule_deletion(std::string name, std::string key,
                                           TimePoint deadline) override;
  Task<Result<void>> set_enabled(std::string name, std::string key, bool enabled,
                                 TimePoint deadline) override;
  Task<std::vector<CheckItem>> check(TimePoint deadline) override;

 private:
  using Flights = SingleFlight<Result<PrivateKeyPtr>>;

  // wrapped_custody.cc
  Task<Result<std::vector<NamedKey>>> list_all(TimePoint deadline);
  Task<Result<UnpointedKey>> make(CreateKeyRequest request, TimePoint deadline);
  Task<Result<SecretBytes>> generate(SigningKeyType type, TimePoint deadline);
  Task<Result<Pointed>> settle(std::string name, std::string key, Error unknown,
                               TimePoint deadline);
  void took_its_name(const std::string& reference);
  Task<Result<ShelvedPtr>> look_up(std::string name, TimePoint deadline);
  void watch_unpointed();

  // wrapped_ends.cc
  // Changes what is on the shelf, again if others change it meanwhile. `edit`: false, nothing is to
  // be written.
  using Edit = std::function<Result<bool>(Shelved&)>;
  Task<Result<void>> change(std::string name, std::string what, Edit edit, TimePoint deadline);

  // wrapped_signing.cc
  struct Usable {
    ShelvedPtr record;
    const ShelvedVersion* version = nullptr;  // of the record
    TimePoint keep_until{};
  };
  // The version that a reference names, where it may be used: kRevoked otherwise.
  Task<Result<Usable>> usable(WrappedReference reference, TimePoint deadline);
  Task<Result<PrivateKeyPtr>> private_key(std::string key, Usable usable, TimePoint deadline);
  Task<Result<PrivateKeyPtr>> unwrap(std::string key, Usable usable);
  Task<Result<std::string>> sign_with(PrivateKeyPtr key, SignRequest request, TimePoint deadline);
  LazyWorker& next_worker();

  Loop& loop_;
  SecretArena& arena_;
  Regions& regions_;
  SigningShelf& shelf_;
  const WrappedCustodyOptions options_;
  ShelfMemory memory_;
  UnpointedKeys unpointed_;
  PrivateKeys keys_;
  Flights unwraps_;
  struct Expire : Ready {
    explicit Expire(WrappedCustody& owner)
        : Ready([](Ready& self) { static_cast<Expire&>(self).custody.watch_unpointed(); }),
          custody(owner) {}
    WrappedCustody& custody;
  };
  Expire expire_;
  Timer expiry_;
  LazyWorker maker_;  // a key takes up to seconds, which no signature waits for
  std::vector<std::unique_ptr<LazyWorker>> signers_;
  size_t next_signer_ = 0;
};

}  // namespace keyfs
