// Which users have files open, and under which policy they opened them.
//
// The right to a key is checked at open(2), and a holder of the descriptor may read, as with any
// file; but a policy that no longer permits the opener ends that. So each handle names an Opener,
// shared by all handles that the same user opened under the same policy; a READ compares one
// pointer, and decides again only if the policy has changed.
//
// Groups are remembered if the decision at open(2) needed them; otherwise they count as none
// afterwards.
//
// Thread-safety: all from any thread; find() takes no lock. Ownership: the table owns the openers;
// an opener is valid between its take() and the matching give_back(). Blocking: never, except for
// one lock of 16. Errors: only take()'s. Cost: an entry per user, set of groups and policy with
// open files; a few are kept for later opens, so that a warm one does not allocate.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "fs/policy/policy.h"

namespace keyfs {

class Openers {
 public:
  struct Opener {
    std::atomic<const Policy*> policy{nullptr};  // written last
    Caller caller;
    std::optional<std::vector<gid_t>> groups;
  };

  Openers() = default;
  ~Openers();
  Openers(const Openers&) = delete;
  Openers& operator=(const Openers&) = delete;

  // Its number, for one handle. `groups`: nullopt if they are unknown or were not needed. 0 if 2^20
  // different ones have files open.
  uint32_t take(const Policy& policy, const Caller& caller,
                std::optional<std::span<const gid_t>> groups);
  void give_back(uint32_t number);

  // nullptr for a number that was never used.
  const Opener* find(uint32_t number) const;

  // Whether the section lets this opener read. Neither blocks nor allocates.
  static bool may_read(const PolicySection& section, const Opener& opener);

 private:
  static constexpr size_t kStripes = 16;
  static constexpr size_t kPartSize = 1024;
  static constexpr size_t kParts = 1024;
  static constexpr size_t kIdle = 8;  // kept for each stripe before one is used for another

  struct Entry {
    Opener opener;
    uint32_t handles = 0;
    bool idle = false;  // is in its stripe's list
  };
  using Part = std::array<Entry, kPartSize>;
  struct alignas(64) Stripe {
    std::mutex mutex;
    std::unordered_multimap<uint64_t, uint32_t> known;  // by hash
    std::vector<uint32_t> idle;
  };

  Entry* at(uint32_t number) const;
  uint32_t unused(Stripe& stripe);

  std::array<Stripe, kStripes> stripes_;
  std::array<std::atomic<Part*>, kParts> parts_{};
  std::mutex growing_;
  uint32_t next_ = 1;
};

}  // namespace keyfs
