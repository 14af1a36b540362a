#include <algorithm>
#include <chrono>
#include <set>
#include <span>
#include <utility>

#include "base/crypto.h"
#include "base/encoding.h"
#include "kms/region_slot.h"
#include "kms/signing/kms_custody_impl.h"

namespace keyfs {
namespace {

constexpr int kAliasesOnAPage = 100;  // KMS's limit
constexpr size_t kMaxAlias = 256;

bool is_a_prefix(const std::string& text) { return text.size() > 1 && text.ends_with('/'); }

Error no_sense_from_kms(const std::string& operation, const std::string& region) {
  return Error(Code::kUnavailable,
               "the reply to " + operation + " in " + region + " does not come from KMS");
}

// 16 hex digits. A custody without one marks its keys with a text that is none, and so takes none for
// its own.
std::string mark_of_owner(const std::string& alias_prefix) {
  const auto hash = sha256(bytes_of(alias_prefix));
  return hash ? hex_encode(std::span(*hash).first(8)) : "unknown";
}

}  // namespace

Result<std::unique_ptr<Custody>> make_kms_custody(Loop& loop, RandomFraction random,
                                                  std::vector<KmsSigningRegion> regions,
                                                  KmsCustodyOptions options,
                                                  SigningObserver* observer) {
  if (regions.empty()) return fail(Code::kInvalid, "custody kms needs a region");
  std::set<std::string> names;
  for (const auto& region : regions) {
    if (!names.insert(region.name).second) {
      return fail(Code::kInvalid, "custody kms has the region " + region.name + " twice");
    }
  }
  // Without the closing '/', keys of example.organic would pass for keys of example.org.
  if (!options.alias_prefix.starts_with("alias/") || !is_a_prefix(options.alias_prefix) ||
      !is_a_prefix(options.description_prefix) ||
      (!options.siblings_prefix.empty() && !is_a_prefix(options.siblings_prefix))) {
    return fail(Code::kInvalid, "the prefixes of custody kms must end with '/'");
  }
  if (!options.siblings_prefix.empty() &&
      !options.alias_prefix.starts_with(options.siblings_prefix)) {
    return fail(Code::kInvalid, "the alias prefix must begin with that of its siblings");
  }
  return std::make_unique<KmsCustody>(loop, std::move(random), std::move(regions),
                                      std::move(options), observer);
}

KmsCustody::KmsCustody(Loop& loop, RandomFraction random, std::vector<KmsSigningRegion> regions,
                       KmsCustodyOptions options, SigningObserver* observer)
    : loop_(loop),
      options_(std::move(options)),
      owner_(mark_of_owner(options_.alias_prefix)),
      calls_(loop, std::move(random), observer) {
  for (auto& region : regions) {
    Health health(loop.clock(), calls_.random(), options_.health);
    slots_.push_back(std::make_unique<SigningSlot>(loop, options_.calls_at_once, std::move(region),
                                                   slots_.size(), std::move(health)));
    order_.push_back(slots_.back().get());
  }
}

Result<void> KmsCustody::check_name(const std::string& name) const {
  if (name.empty()) return fail(Code::kInvalid, "a signing key's name is not empty");
  if (alias_of(name).size() > kMaxAlias) {
    return fail(Code::kInvalid, "the name is too long: its alias would have more than " +
                                    std::to_string(kMaxAlias) + " characters");
  }
  return {};
}

std::string KmsCustody::alias_of(const std::string& name) const {
  return options_.alias_prefix + escape_alias(name);
}

std::string KmsCustody::reference(KmsKeyArn key) const {
  if (key.multi_region()) key.region = slots_.front()->name;
  return to_text(key);
}

bool KmsCustody::same_key(const std::string& one, const std::string& other) const {
  const auto first = KmsKeyArn::parse(one);
  const auto second = KmsKeyArn::parse(other);
  return first && second && (*first == *second || first->replica_of(*second));
}

Result<std::vector<SigningSlot*>> KmsCustody::places(const std::string& key) {
  const auto arn = KmsKeyArn::parse(key);
  if (!arn) return fail(Code::kInvalid, "this is not the ARN of a KMS key: " + key);
  std::vector<SigningSlot*> found;
  for (SigningSlot* slot : order_) {
    if (arn->multi_region() || slot->name == arn->region) found.push_back(slot);
  }
  if (found.empty()) {
    return fail(Code::kInvalid, "the key " + key + " is in a region that is not configured");
  }
  return found;
}

std::string KmsCustody::arn_in(const SigningSlot& slot, const std::string& key) {
  auto arn = KmsKeyArn::parse(key);
  if (!arn || !arn->multi_region()) return key;
  arn->region = slot.name;
  return to_text(*arn);
}

std::vector<SigningSlot*> KmsCustody::reading_order() {
  std::vector<SigningSlot*> order;
  for (const auto& slot : slots_) order.push_back(slot.get());
  return healthy_first(std::move(order), HalfOpen::kInItsPlace);
}

TimePoint KmsCustody::share_of(TimePoint deadline, size_t parts) const {
  const TimePoint now = loop_.now();
  if (parts <= 1 || deadline <= now) return deadline;
  return now + (deadline - now) / static_cast<Duration::rep>(parts);
}

void KmsCustody::note_young(const std::string& key) {
  constexpr Duration kConsistentWithin = std::chrono::minutes(1);
  const TimePoint now = loop_.now();
  std::erase_if(young_, [now](const auto& one) { return one.second <= now; });
  young_[key] = now + kConsistentWithin;
}

bool KmsCustody::is_young(const std::string& key) const {
  const auto found = young_.find(key);
  return found != young_.end() && loop_.now() < found->second;
}

Task<Result<std::vector<KmsAlias>>> KmsCustody::aliases(SigningSlot& slot, std::string key,
                                                        TimePoint deadline, bool elsewhere) {
  constexpr unsigned kMostPages = 1000;  // KMS has 50 at most; this is against an endless list
  std::vector<KmsAlias> all;
  std::string marker;
  for (unsigned page = 0; page < kMostPages; ++page) {
    nlohmann::json body = {{"Limit", kAliasesOnAPage}};
    if (!key.empty()) body["KeyId"] = key;
    if (!marker.empty()) body["Marker"] = marker;
    KmsQuestion question("ListAliases", std::move(body), key.empty() ? "all keys" : key);
    question.elsewhere = elsewhere;
    KmsAnswer answer = co_await calls_.ask(slot, std::move(question), deadline);
    if (answer.error) co_return fail(std::move(*answer.error));
    auto parsed = parse_kms_aliases(answer.body);
    if (!parsed) co_return fail(no_sense_from_kms("ListAliases", slot.name));
    for (KmsAlias& alias : parsed->aliases) all.push_back(std::move(alias));
    marker = std::move(parsed->next);
    if (marker.empty()) co_return all;
  }
  co_return fail(Code::kUnavailable, "ListAliases in " + slot.name + " never ends");
}

Task<Result<std::optional<KmsKeyFacts>>> KmsCustody::describe(SigningSlot& slot, std::string key,
                                                              TimePoint deadline, bool elsewhere,
                                                              bool until_there) {
  const nlohmann::json body = {{"KeyId", key}};
  KmsQuestion question("DescribeKey", body, key);
  question.elsewhere = elsewhere;
  question.until_there = until_there;
  KmsAnswer answer = co_await calls_.ask(slot, std::move(question), deadline);
  if (answer.is("NotFoundException")) co_return std::optional<KmsKeyFacts>();
  if (answer.error) co_return fail(std::move(*answer.error));
  auto facts = parse_kms_key_facts(answer.body);
  if (!facts) co_return fail(no_sense_from_kms("DescribeKey", slot.name));
  co_return facts;
}

Task<Result<std::vector<KmsCustody::Named>>> KmsCustody::aliases_everywhere(std::string key,
                                                                            TimePoint deadline) {
  auto where = places(key);
  if (!where) co_return fail(std::move(where.error()));
  std::vector<Named> all;
  size_t left = where->size();
  for (SigningSlot* slot : *where) {
    auto names = co_await aliases(*slot, arn_in(*slot, key), share_of(deadline, left--));
    if (!names) {
      if (says_not_found(names.error())) continue;  // it has no replica there
      co_return fail(names.error().within("which names it has could not be read"));
    }
    for (KmsAlias& alias : *names) all.emplace_back(slot, std::move(alias));
  }
  co_return all;
}

Task<Result<std::vector<NamedKey>>> KmsCustody::list(TimePoint deadline) {
  std::vector<RegionFailure> failures;
  const auto order = reading_order();
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t left = order.size() - i;
    auto all = co_await aliases(*order[i], "", share_of(deadline, left), left > 1);
    if (!all) {
      const Code code = all.error().code;
      note_failure(failures, order[i]->name, std::move(all.error()));
      if (!may_pass(code)) break;
      continue;
    }
    std::vector<NamedKey> found;
    for (const KmsAlias& alias : *all) {
      if (!alias.name.starts_with(options_.alias_prefix)) continue;
      auto name = unescape_alias(alias.name.substr(options_.alias_prefix.size()));
      if (!name) continue;
      NamedKey one;
      one.name = std::move(*name);
      one.key = reference(alias.target);
      one.refreshed = alias.written;
      found.push_back(std::move(one));
    }
    if (order[i] == &primary()) {
      // Lists may be older than what is known: what differs is asked for by itself.
      for (const NamedKey& one : found) {
        std::string& known = known_names_[one.name];
        if (known.empty()) known = one.key;
      }
      co_return found;
    }
    // It may be behind.
    std::map<std::string, NamedKey> told;
    for (NamedKey& one : found) told.emplace(one.name, std::move(one));
    for (const auto& [name, key] : known_names_) {
      if (!key.empty()) told[name].name = name;
    }
    found.clear();
    for (auto& [name, one] : told) {
      std::optional<NamedKey> said;
      if (!one.key.empty()) said = std::move(one);
      auto right = co_await corrected(*order[i], name, std::move(said), deadline);
      if (right) found.push_back(std::move(*right));
    }
    co_return found;
  }
  co_return fail(combined_code(failures, loop_.now() >= deadline), reasons(failures));
}

Task<Result<std::optional<NamedKey>>> KmsCustody::find_in(SigningSlot& slot, std::string name,
                                                          TimePoint deadline, bool elsewhere) {
  auto facts = co_await describe(slot, alias_of(name), deadline, elsewhere);
  if (!facts) co_return fail(std::move(facts.error()));
  std::optional<NamedKey> found;
  if (*facts) {
    found.emplace();
    found->name = name;
    found->key = reference((*facts)->arn);
    found->disabled = (*facts)->state == "Disabled";
  }
  if (&slot == &primary()) {
    // Of those that never were there nothing is kept: anybody may name any number of them.
    const auto known = known_names_.find(name);
    if (found) {
      known_names_[name] = found->key;
    } else if (known != known_names_.end()) {
      known->second.clear();
    }
  }
  co_return found;
}

Task<std::optional<NamedKey>> KmsCustody::corrected(SigningSlot& slot, std::string name,
                                                    std::optional<NamedKey> told,
                                                    TimePoint deadline) {
  const auto known = known_names_.find(name);
  if (known == known_names_.end() || (told && same_key(told->key, known->second))) co_return told;
  const std::string key = known->second;
  if (key.empty()) co_return std::nullopt;
  if (told) {
    // It may also have heard of a later move than this host has: then the key before is on its way
    // out, and the one now was made for the name.
    auto before = co_await describe(slot, arn_in(slot, key), deadline);
    if (before && (!*before || (*before)->is_pending_deletion())) {
      auto now = co_await describe(slot, arn_in(slot, told->key), deadline);
      if (now && *now && is_marked(**now, name)) co_return told;
    }
  }
  NamedKey right;
  right.name = name;
  right.key = key;
  co_return right;
}

Task<Result<std::optional<NamedKey>>> KmsCustody::find(std::string name, TimePoint deadline) {
  if (auto good = check_name(name); !good) co_return fail(std::move(good.error()));
  std::vector<RegionFailure> failures;
  const auto order = reading_order();
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t left = order.size() - i;
    auto found = co_await find_in(*order[i], name, share_of(deadline, left), left > 1);
    if (found && order[i] == &primary()) co_return found;
    if (found) co_return co_await corrected(*order[i], name, std::move(*found), deadline);
    const Code code = found.error().code;
    note_failure(failures, order[i]->name, std::move(found.error()));
    if (!may_pass(code)) break;
  }
  co_return fail(combined_code(failures, loop_.now() >= deadline), reasons(failures));
}

Task<Result<std::optional<NamedKey>>> KmsCustody::find_decided(std::string name,
                                                               TimePoint deadline) {
  if (auto good = check_name(name); !good) co_return fail(std::move(good.error()));
  co_return co_await find_in(primary(), std::move(name), deadline);
}

Task<std::vector<CheckItem>> KmsCustody::check(TimePoint deadline) {
  std::vector<CheckItem> items;
  for (size_t i = 0; i < slots_.size(); ++i) {
    SigningSlot& slot = *slots_[i];
    const TimePoint begin = loop_.now();
    const auto found = co_await aliases(slot, "", share_of(deadline, slots_.size() - i));
    CheckItem item;
    item.what = slot.name + ": may list aliases";
    item.ok = found.has_value();
    if (found) {
      size_t ours = 0;
      for (const KmsAlias& alias : *found) ours += alias.name.starts_with(options_.alias_prefix);
      item.detail = std::to_string(ours) + " of " + std::to_string(found->size()) +
                    " are ours, answered in " +
                    to_text(std::chrono::floor<std::chrono::milliseconds>(loop_.now() - begin));
    } else {
      item.detail = found.error().message;
      switch (found.error().code) {
        case Code::kDenied:
          item.remedy = "allow kms:ListAliases in IAM";
          break;
        case Code::kUnauthenticated:
          item.remedy = "give keyfs valid AWS credentials";
          break;
        default:
          item.remedy = "make sure that this host can reach " + slot.client->host();
      }
    }
    items.push_back(std::move(item));
  }
  co_return items;
}

}  // namespace keyfs
