#include <algorithm>
#include <utility>

#include "base/race.h"
#include "kms/signing/kms_custody_impl.h"

namespace keyfs {

nlohmann::json KmsCustody::with_policy_and_tags(nlohmann::json body,
                                                const std::string& description) const {
  body["Description"] = description;
  if (!options_.policy.empty()) body["Policy"] = options_.policy;
  if (!options_.tags.empty()) {
    auto tags = nlohmann::json::array();
    for (const auto& [name, value] : options_.tags) {
      tags.push_back({{"TagKey", name}, {"TagValue", value}});
    }
    body["Tags"] = std::move(tags);
  }
  return body;
}

Task<Result<std::string>> KmsCustody::create(CreateKeyRequest request, TimePoint deadline) {
  if (auto good = check_name(request.name); !good) co_return fail(std::move(good.error()));
  const std::string description = description_of(request.name, request.token);
  nlohmann::json body = {{"KeySpec", kms_key_spec(request.type)}, {"KeyUsage", "SIGN_VERIFY"}};
  if (slots_.size() > 1) body["MultiRegion"] = true;
  body = with_policy_and_tags(std::move(body), description);
  KmsQuestion question("CreateKey", std::move(body), description);
  question.once = true;
  KmsAnswer answer = co_await calls_.ask(primary(), std::move(question), deadline);
  if (answer.error) {
    const bool refused = !answer.refusal.empty() && answer.error->code != Code::kUnavailable;
    co_return fail(answer.error->within(
        refused || answer.error->code == Code::kUnauthenticated
            ? "could not create a key"
            : "could not create a key, and the outcome is unknown: it may exist without a name"));
  }
  const auto facts = parse_kms_key_facts(answer.body);
  if (!facts) {
    co_return fail(Code::kUnavailable,
                   "the reply to CreateKey in " + primary().name +
                       " does not come from KMS, and the outcome is unknown: a key may exist "
                       "without a name");
  }
  const std::string key = to_text(facts->arn);
  note_young(key);
  if (request.on_reference) {
    auto told = co_await request.on_reference(key);
    if (!told) co_return fail(std::move(told.error()));
  }
  if (facts->spec != kms_key_spec(request.type) || facts->arn.region != primary().name ||
      facts->arn.multi_region() != (slots_.size() > 1)) {
    co_return fail(Code::kCorrupt,
                   "KMS in " + primary().name + " made another key than it was asked for: " + key);
  }
  if (slots_.size() == 1) co_return key;

  // A region that is out does not keep keys from being made: keep_alive() brings its replica.
  TaskGroup<Result<void>> replicas(loop_);
  const TimePoint until = share_of(deadline, 2);
  for (size_t i = 1; i < slots_.size(); ++i) {
    replicas.start(replicate(*slots_[i], key, description, until));
  }
  while (!replicas.empty()) {
    auto finished = co_await replicas.next(until);
    if (!finished) break;
    if (!finished->value && !may_pass(finished->value.error().code)) {
      co_return fail(finished->value.error().within("could not replicate the new key " + key));
    }
  }
  co_return key;
}

// Asks the first region to make a replica, and waits until it may be used.
Task<Result<void>> KmsCustody::replicate(SigningSlot& slot, std::string key,
                                         std::string description, TimePoint deadline) {
  nlohmann::json body = {{"KeyId", key}, {"ReplicaRegion", slot.name}};
  body = with_policy_and_tags(std::move(body), description);
  KmsQuestion question("ReplicateKey", std::move(body), "the key " + key);
  question.until_there = true;
  question.until_ready = true;
  KmsAnswer answer = co_await calls_.ask(primary(), std::move(question), deadline);
  if (answer.error && !answer.is("AlreadyExistsException"))
    co_return fail(std::move(*answer.error));
  const std::string arn = arn_in(slot, key);
  const nlohmann::json look = {{"KeyId", arn}};
  KmsQuestion ready("GetPublicKey", look, "the key " + arn);
  ready.until_there = true;
  ready.until_ready = true;
  answer = co_await calls_.ask(slot, std::move(ready), deadline);
  if (!answer.error) co_return Result<void>();
  if (answer.error->code != Code::kRevoked) co_return fail(std::move(*answer.error));
  co_return fail(Code::kTimeout, "the replica of " + key + " in " + slot.name +
                                     " is not ready in time: " + answer.error->message);
}

Task<Result<void>> KmsCustody::set_enabled(std::string name, std::string key, bool enabled,
                                           TimePoint deadline) {
  auto where = places(key);
  if (!where) co_return fail(std::move(where.error()));
  SigningSlot& first = *where->front();
  auto facts = co_await describe(first, arn_in(first, key), share_of(deadline, where->size() + 1));
  if (facts && *facts && !is_marked(**facts, name)) {
    co_return fail(Code::kInvalid, "its alias refers to " + key +
                                       ", which was not made for it here: disable and enable it in "
                                       "KMS, or move the alias back");
  }
  const std::string operation = enabled ? "EnableKey" : "DisableKey";
  std::string done;
  std::optional<Error> trouble;
  size_t left = where->size();
  size_t missing = 0;
  for (SigningSlot* slot : *where) {
    const std::string arn = arn_in(*slot, key);
    const nlohmann::json body = {{"KeyId", arn}};
    KmsQuestion question(operation, body, "the key " + arn);
    KmsAnswer answer = co_await calls_.ask(*slot, std::move(question), share_of(deadline, left--));
    if (!answer.error) {
      done += (done.empty() ? "" : ", ") + slot->name;
    } else if (answer.is("NotFoundException") && ++missing < where->size()) {
      continue;  // it has no replica there
    } else {
      trouble = std::move(answer.error);
    }
  }
  if (!trouble) co_return Result<void>();
  co_return fail(trouble->within(done.empty() ? operation
                                              : operation + " (done only in " + done +
                                                    ", so that it is not over: do it again)"));
}

}  // namespace keyfs
