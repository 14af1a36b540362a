// A custody in memory, for tests: real keys and signatures, and faults at each call.
//
//   auto keys = std::make_shared<MemoryKeys>();          // the "server"
//   MemoryCustody custody(loop, keys);                   // a client of it, like one host
//   custody.fail("point", 1, MemoryCustody::When::kAfter, Error(Code::kTimeout, "lost"));
//   custody.hook = [&](std::string call) -> Task<void> { if (call == "sign") co_await gate; };
//
// Calls have the names of the methods of Custody. What is in MemoryKeys may be read and changed by
// the test at any time, without the custody's knowledge.
//
// RSA keys are made once per program, and given out in turn (two of a type at most): the third one
// is the first one again, with the same fingerprint. EC keys are all different.
//
// Thread-safety: none; on the loop's thread. Ownership: clients share the keys; the loop outlives
// the custody. Blocking: making an RSA key, up to seconds. Errors: as kms/signing/custody.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/secret.h"
#include "kms/signing/custody.h"

namespace keyfs {

struct MemoryKeys {
  struct Key {
    SigningKeyType type = SigningKeyType::kEcP256;
    std::shared_ptr<const SecretBytes> pkcs8;
    PublicKeyPtr public_key;
    std::string description;  // its owner's description_prefix + name, + '/' + token
    WallTime created{};
    bool enabled = true;
    std::optional<WallTime> deletion;  // when it was scheduled
  };
  struct Name {
    std::string key;
    WallTime refreshed{};
  };

  // A new key, without a name; its reference, which looks like an ARN.
  std::string add(SigningKeyType type, std::string description, WallTime created);
  // The keys that could sign, or cost something: enabled or not, without deletion.
  std::vector<std::string> live() const;
  // Those of them that no name refers to.
  std::vector<std::string> orphans() const;

  std::map<std::string, Key> keys;    // by reference
  std::map<std::string, Name> names;  // by the owner's prefix + name

 private:
  unsigned last_ = 0;
};

struct MemoryCustodyOptions {
  std::string kind = "kms";
  std::string prefix = "example_org/srv1/";
  std::string siblings_prefix = "example_org/";
  std::string description_prefix = "KEY/example.org/";
  bool leaves_strays = true;
  bool tells_disabled = false;  // in list() and find(), as custody wrapped does
};

class MemoryCustody final : public Custody {
 public:
  enum class When {
    kBefore,          // it takes no effect
    kAfter,           // it took effect, and the answer was lost
    kAfterReference,  // create() only: after on_reference() was told
  };

  MemoryCustody(Loop& loop, std::shared_ptr<MemoryKeys> keys, MemoryCustodyOptions options = {});

  // The n-th call from now (1: the next one) of that name fails.
  void fail(std::string call, unsigned nth, When when, Error error);
  // All calls of that name fail before they take effect, until nullopt ends that.
  void fail_always(const std::string& call, std::optional<Error> error);
  // The regions that point() and keep_alive() say do not know the name; empty: none.
  std::string behind;
  // What remember() was told.
  std::map<std::string, std::string> remembered;
  // Awaited by each call before it takes effect.
  std::function<Task<void>(std::string call)> hook;

  const std::vector<std::string>& log() const { return log_; }  // the calls, in order
  size_t count(const std::string& call) const;
  void forget_log() { log_.clear(); }
  size_t running(const std::string& call) const;       // now
  size_t most_at_once(const std::string& call) const;  // since the start

  MemoryKeys& keys() { return *keys_; }
  // What this owner's name refers to; empty: there is none.
  std::string key_of(const std::string& name) const;

  std::string_view kind() const override { return options_.kind; }
  Result<void> check_name(const std::string& name) const override;
  Task<Result<std::vector<NamedKey>>> list(TimePoint deadline) override;
  Task<Result<std::optional<NamedKey>>> find(std::string name, TimePoint deadline) override;
  Task<Result<std::string>> create(CreateKeyRequest request, TimePoint deadline) override;
  Task<Result<std::optional<std::string>>> made(std::string name, std::string token,
                                                TimePoint deadline) override;
  Task<Result<PublicKeyPtr>> public_key(std::string key, TimePoint deadline) override;
  Task<Result<Signature>> sign(SignRequest request, TimePoint deadline) override;
  Task<Result<Pointed>> point(std::string name, std::string key, std::optional<std::string> from,
                              TimePoint deadline) override;
  Task<Result<Pointed>> keep_alive(std::string name, std::string key, TimePoint deadline) override;
  Task<Result<void>> remove_name(std::string name, std::string key, TimePoint deadline) override;
  void remember(const std::string& name, const std::string& key) override {
    remembered[name] = key;
  }
  Task<Result<Deletion>> schedule_deletion(std::string name, std::string key,
                                           TimePoint deadline) override;
  Task<Result<void>> set_enabled(std::string name, std::string key, bool enabled,
                                 TimePoint deadline) override;
  bool leaves_strays() const override { return options_.leaves_strays; }
  Task<Result<std::vector<StrayKey>>> stale_siblings(WallTime stale_before,
                                                     TimePoint deadline) override;
  Task<Result<std::vector<StrayKey>>> nameless_keys(WallTime created_before,
                                                    std::vector<std::string>& known,
                                                    TimePoint deadline) override;
  Task<Result<Deletion>> dispose(StrayKey stray, TimePoint deadline) override;
  Task<std::vector<CheckItem>> check(TimePoint deadline) override;

 private:
  struct Fault {
    std::string call;
    unsigned left;
    When when;
    Error error;
  };
  struct Call;

  Task<Result<void>> enter(Call& call, TimePoint deadline);
  std::string description_of(const std::string& name, const std::string& token) const;
  NamedKey named(const std::string& name, const MemoryKeys::Name& found) const;
  // kRevoked unless it can sign.
  Result<const MemoryKeys::Key*> usable(const std::string& key) const;

  Loop& loop_;
  const std::shared_ptr<MemoryKeys> keys_;
  const MemoryCustodyOptions options_;
  std::vector<Fault> faults_;
  std::map<std::string, Error> always_;
  std::vector<std::string> log_;
  std::map<std::string, size_t> running_;
  std::map<std::string, size_t> most_;
};

}  // namespace keyfs
