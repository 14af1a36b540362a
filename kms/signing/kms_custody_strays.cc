#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "base/race.h"
#include "kms/signing/kms_custody_impl.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr int kKeysOnAPage = 1000;  // KMS's limit
constexpr unsigned kMostKeyPages = 1000;
constexpr size_t kDescribedAtOnce = 4;
// DescribeKey has its quota with all else that reads; an account may have 100,000 keys.
constexpr Duration kPauseAfterDescribing = 200ms;

}  // namespace

Task<Result<std::vector<StrayKey>>> KmsCustody::stale_siblings(WallTime stale_before,
                                                               TimePoint deadline) {
  std::vector<StrayKey> found;
  if (options_.siblings_prefix.empty()) co_return found;
  auto all = co_await aliases(primary(), "", deadline);
  if (!all) co_return fail(std::move(all.error()));
  for (const KmsAlias& alias : *all) {
    if (!alias.name.starts_with(options_.siblings_prefix) ||
        alias.name.starts_with(options_.alias_prefix) || !alias.written ||
        *alias.written >= stale_before) {
      continue;
    }
    StrayKey stray;
    stray.key = reference(alias.target);
    stray.alias = alias.name;
    stray.refreshed = alias.written;
    found.push_back(std::move(stray));
  }
  co_return found;
}

Task<Result<std::vector<StrayKey>>> KmsCustody::nameless_keys(WallTime created_before,
                                                              std::vector<std::string>& known,
                                                              TimePoint deadline) {
  // The names first: a key that gets its name meanwhile is too young.
  auto all = co_await aliases(primary(), "", deadline);
  if (!all) co_return fail(std::move(all.error()));
  std::set<std::string> settled(known.begin(), known.end());
  for (const KmsAlias& alias : *all) settled.insert(alias.target.id);

  std::vector<std::string> unknown;
  std::string marker;
  for (unsigned page = 0; page < kMostKeyPages; ++page) {
    nlohmann::json body = {{"Limit", kKeysOnAPage}};
    if (!marker.empty()) body["Marker"] = marker;
    KmsQuestion question("ListKeys", std::move(body), "all keys");
    KmsAnswer answer = co_await calls_.ask(primary(), std::move(question), deadline);
    if (answer.error) co_return fail(std::move(*answer.error));
    auto parsed = parse_kms_keys(answer.body);
    if (!parsed) {
      co_return fail(Code::kUnavailable,
                     "the reply to ListKeys in " + primary().name + " does not come from KMS");
    }
    for (const KmsKeyArn& key : parsed->keys) {
      if (!settled.contains(key.id)) unknown.push_back(to_text(key));
    }
    marker = std::move(parsed->next);
    if (marker.empty()) break;
  }

  std::vector<StrayKey> found;
  TaskGroup<Result<std::optional<KmsKeyFacts>>> describing(loop_);
  for (size_t next = 0; next < unknown.size() || !describing.empty();) {
    // What is left is asked about the next time; `known` has what this time came to.
    if (loop_.now() >= deadline) break;
    while (next < unknown.size() && describing.size() < kDescribedAtOnce) {
      describing.start(describe(primary(), unknown[next++], deadline));
    }
    auto finished = co_await describing.next(deadline);
    if (!finished) break;
    // What one cannot see is not known to be ours; but it may only be a grant that is missing yet.
    if (!finished->value || !*finished->value) continue;
    const KmsKeyFacts& key = **finished->value;
    const bool ours = key.description.starts_with(options_.description_prefix) &&
                      key.usage == "SIGN_VERIFY" && is_kms_signing_spec(key.spec) && !key.replica;
    if (!ours) {
      known.push_back(key.arn.id);
    } else if (key.state == "Enabled" && key.created && *key.created < created_before) {
      StrayKey stray;
      stray.key = reference(key.arn);
      stray.created = key.created;
      found.push_back(std::move(stray));
    }
    const TimePoint pause = loop_.now() + kPauseAfterDescribing / kDescribedAtOnce;
    if (next < unknown.size()) co_await loop_.sleep_until(std::min(pause, deadline));
  }
  co_return found;
}

// Whether the stray is still what it was when it was found, and a key of ours.
Task<Result<bool>> KmsCustody::is_as_found(const StrayKey& stray, TimePoint deadline) {
  const std::string key = arn_in(primary(), stray.key);
  auto names = co_await aliases(primary(), key, deadline);
  if (!names) {
    if (says_not_found(names.error())) co_return false;
    co_return fail(std::move(names.error()));
  }
  if (stray.alias.empty()) co_return names->empty();
  // A key that has another name, too, is somebody's.
  co_return names->size() == 1 && names->front().name == stray.alias &&
      names->front().written == stray.refreshed;
}

Task<Result<void>> KmsCustody::dispose(StrayKey stray, TimePoint deadline) {
  const bool foreign =
      !stray.alias.empty() &&
      (options_.siblings_prefix.empty() || !stray.alias.starts_with(options_.siblings_prefix) ||
       stray.alias.starts_with(options_.alias_prefix));
  if (foreign) {
    co_return fail(Code::kInvalid, stray.alias + " is not a name that may be disposed of");
  }
  auto as_found = co_await is_as_found(stray, deadline);
  if (!as_found) co_return fail(std::move(as_found.error()));
  if (!*as_found) co_return Result<void>();
  auto facts = co_await describe(primary(), arn_in(primary(), stray.key), deadline);
  if (!facts) co_return fail(std::move(facts.error()));
  if (!*facts || !(*facts)->description.starts_with(options_.description_prefix) ||
      (*facts)->usage != "SIGN_VERIFY") {
    co_return Result<void>();
  }
  // A disabled key was disabled by somebody, who may want it back.
  if ((*facts)->state != "Enabled" && !(*facts)->is_pending_deletion()) co_return Result<void>();
  auto scheduled = co_await schedule_deletion(stray.key, deadline);
  if (!scheduled || stray.alias.empty()) co_return scheduled;
  for (const auto& slot : slots_) {
    if (slot.get() != &primary() && !(*facts)->arn.multi_region()) continue;
    KmsAnswer answer = co_await delete_alias(*slot, stray.alias, deadline);
    if (answer.error) co_return fail(std::move(*answer.error));
  }
  co_return Result<void>();
}

}  // namespace keyfs
