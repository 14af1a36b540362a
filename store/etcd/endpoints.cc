#include "store/etcd/endpoints.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/http.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// Doubled with each failure in a row. A member that is back is found again within kMostRest.
constexpr Duration kRest = 1s;
constexpr Duration kMostRest = 8s;

}  // namespace

EtcdEndpoints::EtcdEndpoints(std::vector<std::string> urls) {
  for (std::string& url : urls) {
    while (!url.empty() && url.back() == '/') url.pop_back();
    Member& member = members_.emplace_back();
    member.host = host_of(url);
    member.url = std::move(url);
  }
}

std::vector<size_t> EtcdEndpoints::order(TimePoint now, bool needs_leader) const {
  std::vector<size_t> all(members_.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = (preferred_ + i) % all.size();
  const auto rest_of = [&](size_t endpoint) {
    const Member& member = members_[endpoint];
    TimePoint until = member.silent_until;
    if (needs_leader) until = std::max(until, member.leaderless_until);
    return until <= now ? TimePoint{} : until;
  };
  // Those that rest come last, the one first whose rest ends first.
  std::stable_sort(all.begin(), all.end(),
                   [&](size_t a, size_t b) { return rest_of(a) < rest_of(b); });
  return all;
}

void EtcdEndpoints::answered(size_t endpoint, bool needed_leader) {
  Member& member = members_[endpoint];
  member.silent_until = {};
  if (!needed_leader) return;
  member.failures = 0;
  member.leaderless_until = {};
  // Only when the preferred one rests does another one get to answer first.
  preferred_ = endpoint;
}

void EtcdEndpoints::failed(size_t endpoint, TimePoint now, bool alive) {
  Member& member = members_[endpoint];
  member.failures = std::min(member.failures + 1, 10);
  const Duration rest = std::min<Duration>(kRest * (1 << (member.failures - 1)), kMostRest);
  (alive ? member.leaderless_until : member.silent_until) = now + rest;
}

}  // namespace keyfs
