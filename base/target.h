// One of several that can do the same (regions, replicas, members of a cluster): its health, its
// turns, and the order in which to ask them.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: what the health refers to
// outlives it. Errors: none but ask_for_token()'s.
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
  // `place`: in the configuration. `turns` bounds the calls to it at once, which wait for theirs in
  // a queue of our own: no latency and no failure of the target.
  Target(std::string the_name, size_t place, Health the_health, std::shared_ptr<FairTurns> turns)
      : name(std::move(the_name)),
        index(place),
        health(std::move(the_health)),
        calls(std::move(turns)) {}

  bool closed() const { return health.state() == BreakerState::kClosed; }

  void succeeded(Duration latency) { health.succeeded(latency); }
  void failed(const Error& error, Duration latency);
  // The call was dropped without an answer after `waited`. It counts against the target only when
  // it had the time that its answers usually take.
  void gave_up(Duration waited);

  // For a call that only goes out when the target has a token for it. nullopt: it may. Else why the
  // target is left alone.
  std::optional<Error> ask_for_token();

  const std::string name;
  const size_t index;
  Health health;
  const std::shared_ptr<FairTurns> calls;  // never null
};

// The turns of one target; so many calls at once, whoever they are for.
std::shared_ptr<FairTurns> turns_for(Loop& loop, size_t calls_at_once);

// `first` stands before `second` in an order by latency, and should not.
bool should_swap(const Target& first, const Target& second);

// Brings the order up to date: by expected latency. One is moved past another that is configured
// before it only when it is faster by a good deal, and moved back when it no longer is by a little,
// so that the order does not flap between two that are alike.
template <class Who>
void learn_order(std::vector<Who*>& order) {
  for (size_t pass = 0; pass < order.size(); ++pass) {
    for (size_t i = 1; i < order.size(); ++i) {
      if (should_swap(*order[i - 1], *order[i])) std::swap(order[i - 1], order[i]);
    }
  }
}

// Whether one whose time is over is asked in its old place, so that the next caller finds out how
// it is, or behind those that are closed, because it is probed beside the calls of others.
enum class HalfOpen { kInItsPlace, kBehind };

// What is closed in the order given, then what is not, the one first whose time ends first.
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
