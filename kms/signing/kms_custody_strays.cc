#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "base/race.h"
#include "kms/signing/kms_custody_impl.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

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
    if (!is_of_sibling(alias.name) || !alias.written || *alias.written >= stale_before) continue;
    StrayKey stray;
    stray.key = reference(alias.target);
    stray.alias = alias.name;
    stray.refreshed = alias.written;
    stray.stale_before = stale_before;
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

  auto keys = co_await all_keys(deadline);
  if (!keys) co_return fail(std::move(keys.error()));
  std::vector<std::string> unknown;
  for (const KmsKeyArn& key : *keys) {
    if (!settled.contains(key.id)) unknown.push_back(to_text(key));
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
    const bool ours =
        carries_prefix(key) && !is_elsewhere(key) && is_kms_signing_spec(key.spec) && !key.replica;
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

// "PREFIX/SERVER/KEY": an alias without its key is none of a server's.
bool KmsCustody::is_of_sibling(const std::string& alias) const {
  const std::string& prefix = options_.siblings_prefix;
  if (prefix.empty() || !alias.starts_with(prefix) || alias.starts_with(options_.alias_prefix)) {
    return false;
  }
  const size_t slash = alias.find('/', prefix.size());
  return slash != std::string::npos && slash > prefix.size() && slash + 1 < alias.size();
}

bool KmsCustody::carries_prefix(const KmsKeyFacts& key) const {
  return key.usage == "SIGN_VERIFY" && key.description.starts_with(options_.description_prefix) &&
         key.description.size() > options_.description_prefix.size();
}

// Whether the stray is still what it was when it was found, wherever it has a replica.
Task<Result<bool>> KmsCustody::is_as_found(const StrayKey& stray, TimePoint deadline) {
  auto names = co_await aliases_everywhere(stray.key, deadline);
  if (!names) co_return fail(std::move(names.error()));
  bool named = false;
  for (const auto& [slot, alias] : *names) {
    const bool here = slot == &primary();
    // A key that has another name, too, is somebody's.
    if (alias.name != stray.alias || (here && alias.written != stray.refreshed)) co_return false;
    // Its owner lives, and could write it elsewhere only.
    if (!here && alias.written && *alias.written >= stray.stale_before) co_return false;
    named = named || here;
  }
  co_return named || stray.alias.empty();
}

Task<Result<Deletion>> KmsCustody::dispose(StrayKey stray, TimePoint deadline) {
  if (!stray.alias.empty() && !is_of_sibling(stray.alias)) {
    co_return fail(Code::kInvalid, stray.alias + " is not a name that may be disposed of");
  }
  auto as_found = co_await is_as_found(stray, deadline);
  if (!as_found) co_return fail(std::move(as_found.error()));
  if (!*as_found) co_return Deletion::kLeftAlone;
  auto facts = co_await describe(primary(), arn_in(primary(), stray.key), deadline);
  if (!facts) co_return fail(std::move(facts.error()));
  if (!*facts || !carries_prefix(**facts) || is_elsewhere(**facts)) {
    co_return Deletion::kLeftAlone;
  }
  // A disabled key was disabled by somebody, who may want it back.
  if ((*facts)->state != "Enabled" && !(*facts)->is_pending_deletion()) {
    co_return Deletion::kLeftAlone;
  }
  auto scheduled = co_await schedule_everywhere(stray.key, deadline);
  if (!scheduled) {
    co_return fail(scheduled.error().within("could not schedule the deletion of " + stray.key));
  }
  if (stray.alias.empty()) co_return Deletion::kDone;
  for (const auto& slot : slots_) {
    if (slot.get() != &primary() && !(*facts)->arn.multi_region()) continue;
    KmsAnswer answer = co_await delete_alias(*slot, stray.alias, deadline);
    if (answer.error) co_return fail(std::move(*answer.error));
  }
  co_return Deletion::kDone;
}

}  // namespace keyfs
