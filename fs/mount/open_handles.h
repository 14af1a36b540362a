// Which users have which keys open, and which of them the policy no longer permits.
//
// The page cache of a file serves all its descriptors, whoever filled it. So while somebody who may
// no longer read a key has it open, nobody may read its pages. This is known as soon as the policy
// changes, since all open handles are judged then.
//
// A handle that is added while the policy changes is judged by one of the two: add() checks the
// current policy under the lock that judge() takes after the new policy was set.
//
// Thread-safety: all from any thread; judge() on one at a time. Ownership: keeps the entries alive;
// the openers must be valid from add() to the matching remove(). Blocking: one lock of 16, which
// judge() holds while it decides. Errors: none.
// Cost: a node per key and opener that has it open; some are kept for later opens, so that a warm
// one does not allocate.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fs/keys/key_cache.h"
#include "fs/mount/openers.h"
#include "fs/policy/policy.h"

namespace keyfs {

class OpenHandles {
 public:
  OpenHandles(const PolicyHolder& policy, const Openers& openers);

  // Adds a handle of `opener`, whom the policy `then` permitted. False: the policy has changed
  // since, and no longer permits it.
  bool add(uint64_t node, const KeyRef& entry, uint32_t opener, const Policy& then);
  // For each add(), whatever it returned.
  void remove(uint64_t node, uint32_t opener);
  // Call after the policy was replaced. Holds up adds and removes, a stripe at a time.
  void judge();

  // How many handles this opener has of it.
  size_t count(uint64_t node, uint32_t opener) const;
  // Whether a user who may no longer read has it open.
  bool any_refused(uint64_t node) const;
  // Whether this opener may read, by the current policy. Takes no lock.
  bool permits(const KeyEntry& entry, uint32_t opener) const;

 private:
  static constexpr size_t kStripes = 16;
  static constexpr size_t kSpare = 8;  // for each stripe

  struct Key {
    uint64_t node;
    uint32_t opener;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const {
      return (key.node ^ uint64_t{key.opener} << 40) * 0x9e3779b97f4a7c15U >> 8;
    }
  };
  struct Handles {
    KeyRef entry;
    uint32_t count = 0;
    bool refused = false;
  };
  using Known = std::unordered_map<Key, Handles, Hash>;
  struct alignas(64) Stripe {
    mutable std::mutex mutex;
    Known known;
    std::vector<Known::node_type> spare;
    std::unordered_map<uint64_t, uint32_t> refused;  // openers, by node; those with any
  };

  Stripe& stripe_of(uint64_t node) { return stripes_[node % kStripes]; }
  const Stripe& stripe_of(uint64_t node) const { return stripes_[node % kStripes]; }
  void judge_locked(Stripe& stripe, Known::value_type& known);
  static void permit_locked(Stripe& stripe, Known::value_type& known);

  const PolicyHolder& policy_;
  const Openers& openers_;
  const Policy* const first_policy_;  // no handle can have been opened under an earlier one
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace keyfs
