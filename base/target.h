// One of several interchangeable targets (regions, replicas, members of a cluster): its health, its
// turns, and the order to ask them in.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: what the health refers to
// must outlive it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fair_turns.h"
#include "base/health.h"

namespace keyfs {

struct Target {
  // `place`: in the configuration. `turns` limits concurrent calls to it; further ones wait in our
  // own queue, which does not count as latency or failure of the target.
  Target(std::string the_name, size_t place, Health the_health, std::shared_ptr<FairTurns> turns)
      : name(std::move(the_name)),
        index(place),
        health(std::move(the_health)),
        calls(std::move(turns)) {}

  bool closed() const { return health.state() == BreakerState::kClosed; }

  // Of a call, `latency` after it was sent.
  void succeeded(Duration latency) { health.succeeded(latency); }
  void failed(const Error& error, Duration latency);
  // The call was dropped without an answer after `waited`. It counts against the target only if it
  // had as much time as its answers usually take.
  void gave_up(Duration waited);

  // Takes a token for a call that may only go out with one. nullopt: it may. Otherwise why the
  // target is not used.
  std::optional<Error> ask_for_token();

  const std::string name;
  const size_t index;
  Health health;
  const std::shared_ptr<FairTurns> calls;  // never null
};

// The turns of one target: a number of concurrent calls, for any user.
std::shared_ptr<FairTurns> turns_for(Loop& loop, size_t calls_at_once);

// `first` is before `second` in an order by latency, but should not be.
bool should_swap(const Target& first, const Target& second);

// Updates the order, by expected latency. A target passes one that is configured before it only if
// it is clearly faster, and goes back only when it is no longer slightly faster, so that the order
// does not flap between two similar ones.
template <class Who>
void learn_order(std::vector<Who*>& order) {
  for (size_t pass = 0; pass < order.size(); ++pass) {
    for (size_t i = 1; i < order.size(); ++i) {
      if (should_swap(*order[i - 1], *order[i])) std::swap(order[i - 1], order[i]);
    }
  }
}

// Whether a half-open target is asked in its old place, so that the next caller finds out how it
// is, or after the closed ones, because it is probed beside other calls.
enum class HalfOpen { kInItsPlace, kBehind };

// Closed targets in the given order, then the others, ordered by when their time ends.
template <class Who>
std::vector<Who*> healthy_first(std::vector<Who*> order, HalfOpen half_open) {
  const auto rank = [half_open](const Who* who) {
    const BreakerState state = who->health.state();
    if (state == BreakerState::kHalfOpen) return half_open == HalfOpen::kBehind ? 1 : 0;
    return state == BreakerState::kOpen ? 2 : 0;
  };
  std::stable_sort(order.begin(), order.end(), [&](const Who* a, const Who* b) {
    return std::pair(rank(a), a->health.open_for()) < std::pair(rank(b), b->health.open_for());
  });
  return order;
}

}  // namespace keyfs
