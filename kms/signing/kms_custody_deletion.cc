// Deletion: only of a key that is ours beyond doubt, and that has no name.
#include <algorithm>
#include <utility>

#include "base/encoding.h"
#include "base/race.h"
#include "kms/signing/kms_custody_impl.h"

namespace keyfs {
namespace {

constexpr size_t kTokenDigits = 16;

// "NAME", as other programs write it, or "NAME/TOKEN" with the owner's mark.
bool is_of_name(std::string_view text, const std::string& name, const std::string& owner) {
  if (!text.starts_with(name)) return false;
  text.remove_prefix(name.size());
  if (text.empty()) return true;
  if (!text.starts_with('/') || !text.ends_with(owner)) return false;
  text.remove_prefix(1);
  return text.size() == kTokenDigits + owner.size() && hex_decode(text).has_value();
}

}  // namespace

bool KmsCustody::is_marked(const KmsKeyFacts& key, const std::string& name) const {
  if (key.usage != "SIGN_VERIFY" || name.empty()) return false;
  const std::string& own = options_.description_prefix;
  const std::string& former = options_.former_description_prefix;
  const std::string_view text = key.description;
  if (text.starts_with(own) && is_of_name(text.substr(own.size()), name, owner_)) return true;
  return !former.empty() && text.starts_with(former) && text.substr(former.size()) == name;
}

bool KmsCustody::is_elsewhere(const KmsKeyFacts& key) const {
  return std::any_of(key.replicas.begin(), key.replicas.end(), [this](const std::string& region) {
    return std::none_of(slots_.begin(), slots_.end(),
                        [&](const auto& slot) { return slot->name == region; });
  });
}

Task<Result<bool>> KmsCustody::is_nameless(std::string name, std::string key, TimePoint deadline) {
  auto names = co_await aliases_everywhere(key, share_of(deadline, 2));
  if (!names) co_return fail(std::move(names.error()));
  const std::string own = alias_of(name);
  for (const auto& [slot, alias] : *names) {
    if (alias.name != own) co_return false;
    auto decided = co_await find_in(primary(), name, deadline);
    if (!decided) co_return fail(std::move(decided.error()));
    if (*decided && same_key((*decided)->key, key)) {
      co_return fail(Code::kUnavailable, own + " refers to it");
    }
    if (slot == &primary()) {
      co_return fail(Code::kUnavailable, own + " is not seen as moved yet");
    }
    bool done = false;
    if (*decided) {
      done = co_await write_in(*slot, own, (*decided)->key, deadline);
    } else {
      KmsAnswer answer = co_await delete_alias(*slot, own, deadline);
      done = !answer.error;
    }
    if (!done) {
      co_return fail(Code::kUnavailable, own + " still refers to it in " + slot->name);
    }
  }
  co_return true;
}

Task<Result<Deletion>> KmsCustody::schedule_deletion(std::string name, std::string key,
                                                     TimePoint deadline) {
  auto where = places(key);
  if (!where) co_return fail(std::move(where.error()));
  const std::string what = "could not schedule the deletion of " + key;
  // Where it was made; of a key in one region, that one.
  SigningSlot* home = where->front();
  for (SigningSlot* slot : *where) {
    if (arn_in(*slot, key) == key) home = slot;
  }
  const nlohmann::json body = {{"KeyId", key}};
  KmsQuestion question("DescribeKey", body, "the key " + key);
  question.until_there = is_young(key);
  KmsAnswer answer = co_await calls_.ask(*home, std::move(question), share_of(deadline, 3));
  if (answer.is("NotFoundException") && !is_young(key)) co_return Deletion::kDone;
  if (answer.error) {
    // That it is not seen yet is no reason to leave it.
    if (answer.error->code == Code::kRevoked) answer.error->code = Code::kUnavailable;
    co_return fail(answer.error->within(what));
  }
  const auto facts = parse_kms_key_facts(answer.body);
  if (!facts) {
    co_return fail(Code::kUnavailable, what + ": the reply to DescribeKey in " + home->name +
                                           " does not come from KMS");
  }
  if (!is_marked(*facts, name) || is_elsewhere(*facts)) co_return Deletion::kLeftAlone;
  auto nameless = co_await is_nameless(name, key, share_of(deadline, 2));
  if (!nameless) co_return fail(nameless.error().within(what));
  if (!*nameless) co_return Deletion::kLeftAlone;
  auto scheduled = co_await schedule_everywhere(key, deadline);
  if (!scheduled) co_return fail(scheduled.error().within(what));
  young_.erase(key);
  co_return Deletion::kDone;
}

Task<Result<void>> KmsCustody::schedule_everywhere(std::string key, TimePoint deadline) {
  auto where = places(key);
  if (!where) co_return fail(std::move(where.error()));
  // The primary of a multi-Region key waits for its replicas, so they come first.
  TaskGroup<Result<void>> replicas(loop_);
  std::optional<Error> trouble;
  SigningSlot* first = nullptr;
  for (SigningSlot* slot : *where) {
    if (arn_in(*slot, key) == key) {
      first = slot;
    } else {
      replicas.start(schedule_in(*slot, key, share_of(deadline, 2)));
    }
  }
  while (!replicas.empty()) {
    auto finished = co_await replicas.next();
    if (finished && !finished->value) trouble = std::move(finished->value.error());
  }
  if (first != nullptr) {
    auto done = co_await schedule_in(*first, key, deadline);
    if (!done) trouble = std::move(done.error());
  }
  if (trouble) co_return fail(std::move(*trouble));
  co_return Result<void>();
}

Task<Result<void>> KmsCustody::schedule_in(SigningSlot& slot, std::string key, TimePoint deadline) {
  const std::string arn = arn_in(slot, key);
  const nlohmann::json body = {{"KeyId", arn}, {"PendingWindowInDays", options_.deletion_days}};
  KmsQuestion question("ScheduleKeyDeletion", body, "the key " + arn);
  const bool young = is_young(key);
  const bool replica = arn != key;
  question.until_there = young && !replica;
  KmsAnswer answer = co_await calls_.ask(slot, std::move(question), deadline);
  if (!answer.error) co_return Result<void>();
  if (answer.is("NotFoundException") && replica) {
    // Never made, or gone; or still on its way.
    auto facts = co_await describe(primary(), key, deadline);
    if (!facts) co_return fail(std::move(facts.error()));
    const bool known = *facts && std::find((*facts)->replicas.begin(), (*facts)->replicas.end(),
                                           slot.name) != (*facts)->replicas.end();
    if (!known) co_return Result<void>();
  } else if (answer.is("NotFoundException") && !young) {
    co_return Result<void>();
  } else if (answer.is("KMSInvalidStateException")) {
    // It is pending already; or a replica that is still being made.
    auto facts = co_await describe(slot, arn, deadline);
    if (!facts) co_return fail(std::move(facts.error()));
    if (!*facts || (*facts)->is_pending_deletion()) co_return Result<void>();
  }
  // It is there, and must not stay because it cannot be deleted at this moment.
  if (answer.error->code == Code::kRevoked) answer.error->code = Code::kUnavailable;
  co_return fail(std::move(*answer.error));
}

}  // namespace keyfs
