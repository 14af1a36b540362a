// What `keyfs sign` works with: the custodies of [signing], this host's signing keys, and what the
// policy lets the caller do with them.
//
// Thread-safety: one thread, which runs the context's loop. Ownership: refers to the context, which
// outlives it. Blocking: all but permission() and refusal(). Errors: as kms/signing/custody.h; kInvalid for the
// configuration.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/cli/caller.h"
#include "fs/cli/command_context.h"
#include "fs/daemon/signing_custodies.h"
#include "fs/policy/sign_policy.h"
#include "fs/sign/signing_keys.h"

namespace keyfs {

struct SignPermission {
  bool use = false;
  bool see = false;  // list, describe
  bool create = false;
  bool administer = false;  // rotate, disable, enable, delete
  const SignSection* section = nullptr;
};

// A name, with what its custody says of its key.
struct NamedSigningKey {
  std::string custody;
  NamedKey named;
  PublicKeyPtr public_key;  // null: `problem` says why, if not why it cannot be used
  std::optional<Error> problem;
  std::string state() const;  // "enabled", "disabled", "unknown"
};

class SignParts {
 public:
  // For KMS: a multi-Region key is made in several steps, each of which may have to be tried again.
  static constexpr std::chrono::seconds kCommand{60};

  explicit SignParts(CommandContext& context) : context_(context) {}
  ~SignParts();
  SignParts(const SignParts&) = delete;
  SignParts& operator=(const SignParts&) = delete;

  SignPermission permission(std::string_view id) const;
  Error refusal(const SignPermission& permission, std::string_view verb, std::string_view id,
                std::string_view entries) const;
  const User& user() const { return user_; }

  // Made when first asked for.
  Result<SigningCustodies*> custodies();
  // The same, with state_dir.
  Result<SigningKeys*> keys();
  SigningKeys* open_keys() { return keys_.get(); }  // null: keys() was not called, or in vain
  TimePoint deadline() const { return context_.clock.now() + kCommand; }

  // All that the caller may see, by id; they are looked at without this host's state_dir.
  Result<std::vector<NamedSigningKey>> list();
  // nullopt: there is none.
  Result<std::optional<NamedSigningKey>> find(const std::string& id);
  // The same, once the key is enabled or disabled. Without this host's state_dir: a key must be
  // stopped also where that is full, or broken.
  Result<std::optional<NamedSigningKey>> set_enabled(const std::string& id, bool enabled);

 private:
  NamedSigningKey look_at(Custody& custody, NamedKey named);

  CommandContext& context_;
  const User user_ = invoking_user();
  std::unique_ptr<SigningCustodies> custodies_;
  std::unique_ptr<SigningKeys> keys_;
};

}  // namespace keyfs
