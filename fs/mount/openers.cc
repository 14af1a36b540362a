#include "fs/mount/openers.h"

#include <algorithm>

namespace keyfs {
namespace {

// A user cannot choose uids and gids freely, so a plain hash is enough.
uint64_t hash_of(const Policy& policy, const Caller& caller,
                 const std::optional<std::span<const gid_t>>& groups) {
  uint64_t hash = reinterpret_cast<uintptr_t>(&policy);
  const auto mix = [&hash](uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15U;
    hash ^= hash >> 32;
  };
  mix(caller.uid);
  mix(caller.gid);
  if (groups) {
    for (const gid_t group : *groups) mix(group + uint64_t{1});
  }
  return hash;
}

class SameGroups final : public SupplementaryGroups {
 public:
  explicit SameGroups(const std::optional<std::vector<gid_t>>& groups) : groups_(groups) {}
  std::optional<std::span<const gid_t>> get() override {
    if (!groups_) return std::nullopt;
    return std::span<const gid_t>(*groups_);
  }

 private:
  const std::optional<std::vector<gid_t>>& groups_;
};

bool same(const Openers::Opener& opener, const Policy& policy, const Caller& caller,
          const std::optional<std::span<const gid_t>>& groups) {
  return opener.policy.load(std::memory_order_relaxed) == &policy &&
         opener.caller.uid == caller.uid && opener.caller.gid == caller.gid &&
         opener.groups.has_value() == groups.has_value() &&
         (!groups ||
          std::equal(groups->begin(), groups->end(), opener.groups->begin(), opener.groups->end()));
}

}  // namespace

Openers::~Openers() {
  for (const auto& part : parts_) delete part.load();
}

Openers::Entry* Openers::at(uint32_t number) const {
  const size_t part = number / kPartSize;
  if (number == 0 || part >= kParts) return nullptr;
  Part* entries = parts_[part].load(std::memory_order_acquire);
  return entries == nullptr ? nullptr : &(*entries)[number % kPartSize];
}

const Openers::Opener* Openers::find(uint32_t number) const {
  const Entry* entry = at(number);
  if (entry == nullptr) return nullptr;
  const Opener& opener = entry->opener;
  return opener.policy.load(std::memory_order_acquire) == nullptr ? nullptr : &opener;
}

uint32_t Openers::take(const Policy& policy, const Caller& caller,
                       std::optional<std::span<const gid_t>> groups) {
  const uint64_t hash = hash_of(policy, caller, groups);
  Stripe& stripe = stripes_[hash >> 60];
  std::lock_guard lock(stripe.mutex);
  const auto [first, last] = stripe.known.equal_range(hash);
  for (auto known = first; known != last; ++known) {
    Entry& entry = *at(known->second);
    if (!same(entry.opener, policy, caller, groups)) continue;
    ++entry.handles;
    return known->second;
  }
  const uint32_t number = unused(stripe);
  if (number == 0) return 0;
  Entry& entry = *at(number);
  entry.opener.caller = caller;
  entry.opener.groups.reset();
  if (groups) entry.opener.groups.emplace(groups->begin(), groups->end());
  entry.opener.policy.store(&policy, std::memory_order_release);
  entry.handles = 1;
  stripe.known.emplace(hash, number);
  return number;
}

// An unused one, if there are enough of them, or a new one.
uint32_t Openers::unused(Stripe& stripe) {
  while (stripe.idle.size() > kIdle) {
    const uint32_t number = stripe.idle.front();
    stripe.idle.erase(stripe.idle.begin());
    Entry& entry = *at(number);
    entry.idle = false;
    if (entry.handles > 0) continue;
    const Opener& before = entry.opener;
    std::optional<std::span<const gid_t>> groups;
    if (before.groups) groups = *before.groups;
    const auto [first, last] =
        stripe.known.equal_range(hash_of(*before.policy.load(), before.caller, groups));
    const auto place =
        std::find_if(first, last, [number](const auto& known) { return known.second == number; });
    if (place != last) stripe.known.erase(place);
    return number;
  }
  std::lock_guard lock(growing_);
  if (next_ >= kParts * kPartSize) return 0;
  auto& part = parts_[next_ / kPartSize];
  if (part.load(std::memory_order_relaxed) == nullptr) {
    part.store(new Part(), std::memory_order_release);
  }
  return next_++;
}

void Openers::give_back(uint32_t number) {
  Entry* entry = at(number);
  if (entry == nullptr || entry->opener.policy.load() == nullptr) return;
  const Opener& opener = entry->opener;
  std::optional<std::span<const gid_t>> groups;
  if (opener.groups) groups = *opener.groups;
  Stripe& stripe = stripes_[hash_of(*opener.policy.load(), opener.caller, groups) >> 60];
  std::lock_guard lock(stripe.mutex);
  if (entry->handles == 0 || --entry->handles > 0 || entry->idle) return;
  entry->idle = true;
  stripe.idle.push_back(number);
}

bool Openers::may_read(const PolicySection& section, const Opener& opener) {
  SameGroups groups(opener.groups);
  return !section.hidden && Policy::may_read(section, opener.caller, groups);
}

}  // namespace keyfs
