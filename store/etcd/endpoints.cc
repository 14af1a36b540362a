#include "store/etcd/endpoints.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/http.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kAtOnce = 8;  // requests to one member

// Another member can do the same, so the first failure is enough to leave one alone; it is found
// again within 8 s. A linearizable answer comes from the leader, whoever is asked for it: a cluster
// that is slow now and then is not asked twice for that, only a member that may be silent.
HealthOptions member_health(const EtcdOptions& options) {
  HealthOptions health;
  health.hedge_unknown = options.hedge_after;
  health.hedge_least = options.hedge_after;
  health.hedge_most = std::max(options.hedge_after, options.attempt_timeout / 2);
  health.failures_to_open = 1;
  health.transient_open = health.throttled_open = 1s;
  health.transient_open_most = health.throttled_open_most = 8s;
  health.tokens = 2;
  health.tokens_per_second = 4;
  health.open_costs_token = false;
  return health;
}

}  // namespace

EtcdEndpoints::EtcdEndpoints(Loop& loop, RandomFraction random, const EtcdOptions& options) {
  for (std::string url : options.endpoints) {
    while (!url.empty() && url.back() == '/') url.pop_back();
    const std::string host = host_of(url);
    const auto turns = turns_for(loop, kAtOnce);
    const auto target = [&] {
      return Target(host, members_.size(), Health(loop.clock(), random, member_health(options)),
                    turns);
    };
    members_.push_back(std::make_unique<Member>(Member{std::move(url), host, target(), target()}));
  }
}

std::vector<Target*> EtcdEndpoints::order(bool needs_leader) const {
  std::vector<Target*> all;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = *members_[(preferred_ + i) % members_.size()];
    all.push_back(needs_leader ? &member.led : &member.alone);
  }
  return healthy_first(std::move(all), HalfOpen::kInItsPlace);
}

void EtcdEndpoints::answered(size_t endpoint, bool needed_leader, Duration latency) {
  Member& member = *members_[endpoint];
  if (!needed_leader) return member.alone.succeeded(latency);
  member.led.succeeded(latency);
  if (!member.alone.closed()) member.alone.succeeded(latency);
  // Only when the preferred one is left alone does another one get to answer first.
  preferred_ = endpoint;
}

void EtcdEndpoints::failed(size_t endpoint, bool needed_leader, const Error& error,
                           Duration latency, bool alive) {
  Member& member = *members_[endpoint];
  Error why = error;
  if (!may_pass(why.code)) why.code = Code::kUnavailable;  // another member may do better
  // One that is silent may be so for want of a leader, or of time.
  const bool unreachable = !alive && why.code != Code::kTimeout;
  if (needed_leader || unreachable) member.led.failed(why, latency);
  if (!needed_leader || unreachable) member.alone.failed(why, latency);
}

}  // namespace keyfs
