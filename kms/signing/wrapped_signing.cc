// Using wrapped signing keys: public halves, unwrapping, signatures.
#include <algorithm>
#include <thread>
#include <utility>

#include "base/asymmetric.h"
#include "base/crypto.h"
#include "base/deadline.h"
#include "kms/signing/scheme.h"
#include "kms/signing/wrapped_custody_impl.h"

namespace keyfs {
namespace {

// What an unwrap for several signers has; each of them leaves at its own deadline.
constexpr Duration kUnwrapPatience = std::chrono::seconds(10);

Error no_wrapped_reference(const std::string& key) {
  return {Code::kInvalid, "\"" + key + "\" is no reference of a wrapped signing key"};
}

KeyVerifier signing_verifier(std::string id, const ShelvedVersion& version) {
  return [id = std::move(id), number = version.number, bytes = version.bytes,
          expected = version.check](const SecretBytes& key) -> Result<void> {
    if (key.size() != bytes) return fail(Code::kCorrupt, "the key has another size");
    const auto check = key_check_value(key.reveal(), id, number);
    if (!check) return fail(check.error());
    if (constant_time_equal(*check, expected)) return {};
    return fail(Code::kCorrupt, "the check value differs: this is not the key that was created");
  };
}

// Signs, and verifies with the public half that the signature was asked for.
Result<std::string> sign_verified(const PrivateKeyPtr& key, const SignRequest& request) {
  const auto digest = bytes_of(request.digest);
  auto signature =
      sign_digest(key->reveal(), scheme_of(request.algorithm), hash_of(request.algorithm), digest);
  wipe_registers();
  if (!signature) return signature;
  const auto good = request.public_key->verify(request.algorithm, digest, bytes_of(*signature));
  if (!good) return fail(good.error().within("the signature does not verify"));
  return signature;
}

}  // namespace

Task<Result<WrappedCustody::Usable>> WrappedCustody::usable(WrappedReference reference,
                                                            TimePoint deadline) {
  const std::string& name = reference.name;
  auto known = co_await memory_.known(name, deadline);
  if (!known) co_return fail(known.error().within("signing key " + name + " cannot be used"));
  const Shelved* record = known->record.get();
  const std::string number = "version " + std::to_string(reference.version);
  const ShelvedVersion* version = nullptr;
  std::string why;
  if (record == nullptr) {
    why = "there is none";
  } else if (record->deleted) {
    why = "it was deleted";
  } else if (record->disabled) {
    why = "it is disabled";
  } else {
    for (const auto& one : record->versions) {
      if (one.number == reference.version) version = &one;
    }
    if (version == nullptr) {
      why = "it has no " + number;
    } else if (version->wrapped.empty()) {
      why = number + " was destroyed";
    } else if (reference_to(name, *version) != reference.text()) {
      why = "another key has become " + number;
    }
  }
  if (!why.empty()) {
    keys_.drop(reference.text());
    co_return fail(Code::kRevoked, "signing key " + name + ": " + why);
  }
  Usable usable;
  usable.record = known->record;
  usable.version = version;
  usable.keep_until = known->confirmed + options_.keep_for;
  if (known->out) {
    usable.keep_until = std::max(
        usable.keep_until,
        std::min(loop_.now() + options_.keep_for, known->confirmed + options_.serve_stale_for));
  }
  co_return usable;
}

Task<Result<PublicKeyPtr>> WrappedCustody::public_key(std::string key, TimePoint deadline) {
  auto reference = WrappedReference::parse(key);
  if (!reference) co_return fail(no_wrapped_reference(key));
  if (const UnpointedKey* made = unpointed_.find(key, loop_.now())) co_return made->public_key;
  const std::string name = reference->name;
  auto found = co_await usable(std::move(*reference), deadline);
  if (!found) co_return fail(std::move(found.error()));
  auto parsed = PublicKey::parse(bytes_of(found->version->public_der));
  if (!parsed) co_return fail(parsed.error().within("signing key " + name));
  if ((*parsed)->type() != found->version->type) {
    co_return fail(Code::kCorrupt, "signing key " + name + " is not of the type in its record");
  }
  co_return std::move(*parsed);
}

Task<Result<Signature>> WrappedCustody::sign(SignRequest request, TimePoint deadline) {
  auto reference = WrappedReference::parse(request.key);
  if (!reference) co_return fail(no_wrapped_reference(request.key));
  if (request.public_key == nullptr) co_return fail(Code::kInvalid, "no public key was given");
  if (auto good =
          check_signing(request.public_key->type(), request.algorithm, request.digest.size());
      !good) {
    co_return fail(std::move(good.error()));
  }
  const std::string name = reference->name;
  if (request.public_key->fingerprint() != reference->fingerprint) {
    co_return fail(Code::kCorrupt, "signing key " + name + ": the public key is another key's");
  }
  PrivateKeyPtr key;
  if (const UnpointedKey* made = unpointed_.find(request.key, loop_.now())) {
    key = made->private_key;
  } else {
    auto found = co_await usable(std::move(*reference), deadline);
    if (!found) co_return fail(std::move(found.error()));
    auto held = co_await private_key(request.key, std::move(*found), deadline);
    if (!held) co_return fail(held.error().within("signing key " + name));
    key = std::move(*held);
  }
  Signature signature;
  auto signing = sign_with(std::move(key), std::move(request), deadline);
  auto bytes = co_await std::move(signing);
  if (!bytes) co_return fail(bytes.error().within("signing key " + name));
  signature.bytes = std::move(*bytes);
  co_return signature;
}

Task<Result<PrivateKeyPtr>> WrappedCustody::private_key(std::string key, Usable usable,
                                                        TimePoint deadline) {
  const TimePoint keep_until = usable.keep_until;
  PrivateKeyPtr held = keys_.find(key);
  if (held == nullptr) {
    Flights::Work work = [this, key, &usable](Flights::Flight&) {
      return unwrap(key, std::move(usable));
    };
    auto joined = unwraps_.join(key, std::move(work));
    auto landed = co_await before(loop_, sooner(deadline, loop_.now()), "could not unwrap it",
                                  std::move(joined));
    if (!landed) co_return landed;
    held = std::move(*landed);
  }
  keys_.keep(key, held, keep_until);
  co_return held;
}

Task<Result<PrivateKeyPtr>> WrappedCustody::unwrap(std::string key, Usable usable) {
  const ShelvedVersion& version = *usable.version;
  const std::string id = shelf_.record_id(usable.record->name);
  WrappedKeys wraps = version.wrapped;
  EncryptionContext context = key_context(id, version.number, usable.record->origin);
  KeyVerifier verifier = signing_verifier(id, version);
  auto unwrapped = co_await regions_.unwrap(std::move(wraps), std::move(context),
                                            std::move(verifier), loop_.now() + kUnwrapPatience);
  if (!unwrapped) co_return fail(std::move(unwrapped.error()));
  if (unwrapped->suspect && options_.degraded) options_.degraded(id);
  const auto half = public_half(unwrapped->key.reveal());
  if (!half) co_return fail(half.error());
  if (*half != version.public_der) {
    co_return fail(Code::kCorrupt, "what was unwrapped is not the key of its public half");
  }
  auto held = std::make_shared<const SecretBytes>(std::move(unwrapped->key));
  keys_.keep(key, held, usable.keep_until);
  co_return held;
}

Task<Result<std::string>> WrappedCustody::sign_with(PrivateKeyPtr key, SignRequest request,
                                                    TimePoint deadline) {
  if (is_quick(request.public_key->type())) co_return sign_verified(key, request);
  std::function<Result<std::string>()> work = [key = std::move(key),
                                               request = std::move(request)]() mutable {
    auto signature = sign_verified(key, request);
    key = nullptr;
    return signature;
  };
  auto running = next_worker().run(std::move(work));
  co_return co_await before(loop_, deadline, "could not sign", std::move(running));
}

LazyWorker& WrappedCustody::next_worker() {
  if (signers_.empty()) {
    const size_t most = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 4);
    for (size_t i = 0; i < most; ++i) {
      signers_.push_back(std::make_unique<LazyWorker>(loop_, "keyfs-sign"));
    }
  }
  return *signers_[next_signer_++ % signers_.size()];
}

}  // namespace keyfs
