#include <utility>

#include "base/crypto.h"
#include "base/encoding.h"
#include "kms/signing/kms_custody_impl.h"
#include "kms/signing/scheme.h"
#include "kms/signing/signing_race.h"

namespace keyfs {
namespace {

// A member in base64; nullopt if it is missing, empty or malformed.
std::optional<std::vector<uint8_t>> kms_bytes(const nlohmann::json& body, const char* member) {
  auto bytes = base64_decode(kms_text(body, member));
  if (!bytes || bytes->empty()) return std::nullopt;
  return std::move(*bytes);
}

Error wrong_answer(const SigningSlot& slot, const std::string& what) {
  return Error(Code::kCorrupt, "KMS in " + slot.name + " gave " + what);
}

}  // namespace

Code combined_signing_code(const std::vector<RegionFailure>& failures, bool deadline_passed) {
  std::vector<RegionFailure> others;
  bool certain = false;
  bool contradicted = false;
  for (const RegionFailure& failure : failures) {
    const Code code = failure.error.code;
    if (code == Code::kRevoked) {
      certain = certain || !says_not_found(failure.error);
      continue;
    }
    contradicted = contradicted || (!may_pass(code) && code != Code::kUnauthenticated);
    others.push_back(failure);
  }
  const bool any_revoked = others.size() < failures.size();
  if (any_revoked && !contradicted && (certain || others.empty())) return Code::kRevoked;
  return combined_code(others, deadline_passed);
}

Task<Result<Signature>> KmsCustody::sign_in(SigningSlot& slot, const SignRequest& request,
                                            TimePoint deadline) {
  const std::string arn = arn_in(slot, request.key);
  const std::string algorithm(to_string(request.algorithm));
  const nlohmann::json body = {{"KeyId", arn},
                               {"Message", base64_encode(request.digest)},
                               {"MessageType", "DIGEST"},
                               {"SigningAlgorithm", algorithm}};
  KmsQuestion question("Sign", body, "the key " + arn);
  KmsAnswer answer = co_await calls_.once(slot, std::move(question), deadline);
  if (answer.error) co_return fail(std::move(*answer.error));
  if (kms_text(answer.body, "KeyId") != arn) {
    co_return fail(wrong_answer(slot, "a signature by another key than " + arn));
  }
  if (kms_text(answer.body, "SigningAlgorithm") != algorithm) {
    co_return fail(wrong_answer(slot, "a signature by another algorithm than " + algorithm));
  }
  const auto bytes = kms_bytes(answer.body, "Signature");
  if (!bytes) co_return fail(wrong_answer(slot, "no signature"));
  if (auto verified =
          request.public_key->verify(request.algorithm, bytes_of(request.digest), *bytes);
      !verified) {
    co_return fail(
        wrong_answer(slot, "a signature that does not verify: " + verified.error().message));
  }
  Signature signature;
  signature.bytes.assign(bytes->begin(), bytes->end());
  signature.region = slot.name;
  signature.request_id = std::move(answer.request_id);
  co_return signature;
}

Task<Result<Signature>> KmsCustody::sign(SignRequest request, TimePoint deadline) {
  auto good = check_signing(request.public_key->type(), request.algorithm, request.digest.size());
  if (!good) co_return fail(std::move(good.error()));
  learn_order(order_);
  auto where = places(request.key);
  if (!where) co_return fail(std::move(where.error()));
  SigningRace<Signature> race(calls_, "Sign", is_young(request.key), deadline,
                              [&](SigningSlot& slot) { return sign_in(slot, request, deadline); });
  auto signature = co_await race.run(healthy_first(std::move(*where), HalfOpen::kInItsPlace));
  if (!signature) co_return fail(signature.error().within("could not sign"));
  co_return signature;
}

Task<Result<PublicKeyPtr>> KmsCustody::public_key_in(SigningSlot& slot, std::string key,
                                                     TimePoint deadline) {
  const std::string arn = arn_in(slot, key);
  const nlohmann::json body = {{"KeyId", arn}};
  KmsQuestion question("GetPublicKey", body, "the key " + arn);
  KmsAnswer answer = co_await calls_.once(slot, std::move(question), deadline);
  if (answer.error) co_return fail(std::move(*answer.error));
  if (kms_text(answer.body, "KeyId") != arn) {
    co_return fail(wrong_answer(slot, "the public key of another key than " + arn));
  }
  if (kms_text(answer.body, "KeyUsage") != "SIGN_VERIFY") {
    co_return fail(Code::kInvalid, "the key " + arn + " is not for signing");
  }
  const auto der = kms_bytes(answer.body, "PublicKey");
  if (!der) co_return fail(wrong_answer(slot, "no public key of " + arn));
  auto parsed = PublicKey::parse(*der);
  if (!parsed) co_return fail(parsed.error().within("the key " + arn));
  if (kms_text(answer.body, "KeySpec") != kms_key_spec((*parsed)->type())) {
    co_return fail(wrong_answer(slot, "a public key of another type than it says of " + arn));
  }
  co_return std::move(*parsed);
}

Task<Result<PublicKeyPtr>> KmsCustody::public_key(std::string key, TimePoint deadline) {
  learn_order(order_);
  auto where = places(key);
  if (!where) co_return fail(std::move(where.error()));
  SigningRace<PublicKeyPtr> race(
      calls_, "GetPublicKey", is_young(key), deadline,
      [&](SigningSlot& slot) { return public_key_in(slot, key, deadline); });
  auto found = co_await race.run(healthy_first(std::move(*where), HalfOpen::kInItsPlace));
  if (!found) co_return fail(found.error().within("could not get the public key"));
  co_return found;
}

}  // namespace keyfs
