// Which users have which keys open, and whom of them the policy no longer permits.
//
// The page cache of a file serves all its descriptors, whoever filled it. So no page of a key may
// be read while somebody who may no longer read has it open: not by anybody. That is known at once
// when the policy changes, since all who have something open are judged then.
//
// A handle that is added while the policy changes is judged by one of the two: add() looks at the
// current policy under the lock under which judge() goes by, after that policy was put in place.
//
// Thread-safety: all from any thread; judge() on one at a time. Ownership: keeps the entries alive;
// the openers are valid from add() to the remove() that belongs to it. Blocking: one lock of 16,
// which judge() holds while it decides. Errors: none.
// Cost: a node per key and opener that has it open; some are kept for the next open, so that a warm
// one allocates nothing.
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

  // A handle of `opener`, whom the policy `then` permitted. False: the policy has changed since, and
  // no longer does.
  bool add(uint64_t node, const KeyRef& entry, uint32_t opener, const Policy& then);
  void remove(uint64_t node, uint32_t opener);
  // After the policy was replaced.
  void judge();

  // Whether somebody has it open who may no longer read.
  bool any_refused(uint64_t node) const;
  // Whether whoever that is may read, by the current policy.
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
