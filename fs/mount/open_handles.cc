#include "fs/mount/open_handles.h"

#include <utility>

#include "fs/mount/key_words.h"

namespace keyfs {

OpenHandles::OpenHandles(const PolicyHolder& policy, const Openers& openers)
    : policy_(policy), openers_(openers), first_policy_(&policy.current()) {}

bool OpenHandles::permits(const KeyEntry& entry, uint32_t number) const {
  const Policy& policy = policy_.current();
  const auto* opener = openers_.find(number);
  const Policy* then =
      opener != nullptr ? opener->policy.load(std::memory_order_relaxed) : first_policy_;
  if (then == &policy) return true;
  return opener != nullptr && Openers::may_read(section_of(entry, policy), *opener);
}

bool OpenHandles::add(uint64_t node, const KeyRef& entry, uint32_t opener, const Policy& then) {
  Stripe& stripe = stripe_of(node);
  std::lock_guard lock(stripe.mutex);
  const Key key{node, opener};
  auto found = stripe.known.find(key);
  if (found == stripe.known.end()) {
    if (stripe.spare.empty()) {
      found = stripe.known.try_emplace(key).first;
    } else {
      Known::node_type node_of_it = std::move(stripe.spare.back());
      stripe.spare.pop_back();
      node_of_it.key() = key;
      found = stripe.known.insert(std::move(node_of_it)).position;
    }
    found->second.entry = entry;
  }
  ++found->second.count;
  if (&then != &policy_.current()) judge_locked(stripe, *found);
  return !found->second.refused;
}

void OpenHandles::remove(uint64_t node, uint32_t opener) {
  Known::node_type unused;  // both are released after the lock
  KeyRef entry;
  Stripe& stripe = stripe_of(node);
  std::lock_guard lock(stripe.mutex);
  const auto found = stripe.known.find({node, opener});
  if (found == stripe.known.end() || --found->second.count > 0) return;
  permit_locked(stripe, *found);
  entry = std::move(found->second.entry);
  unused = stripe.known.extract(found);
  if (stripe.spare.size() < kSpare) stripe.spare.push_back(std::move(unused));
}

void OpenHandles::judge() {
  for (Stripe& stripe : stripes_) {
    std::lock_guard lock(stripe.mutex);
    for (auto& known : stripe.known) judge_locked(stripe, known);
  }
}

void OpenHandles::judge_locked(Stripe& stripe, Known::value_type& known) {
  if (permits(*known.second.entry, known.first.opener)) {
    permit_locked(stripe, known);
  } else if (!std::exchange(known.second.refused, true)) {
    ++stripe.refused[known.first.node];
  }
}

void OpenHandles::permit_locked(Stripe& stripe, Known::value_type& known) {
  if (!std::exchange(known.second.refused, false)) return;
  const auto found = stripe.refused.find(known.first.node);
  if (--found->second == 0) stripe.refused.erase(found);
}

size_t OpenHandles::count(uint64_t node, uint32_t opener) const {
  const Stripe& stripe = stripe_of(node);
  std::lock_guard lock(stripe.mutex);
  const auto found = stripe.known.find({node, opener});
  return found == stripe.known.end() ? 0 : found->second.count;
}

bool OpenHandles::any_refused(uint64_t node) const {
  const Stripe& stripe = stripe_of(node);
  std::lock_guard lock(stripe.mutex);
  return stripe.refused.contains(node);
}

}  // namespace keyfs
