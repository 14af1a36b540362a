// The members of an etcd cluster, and which to ask first.
//
// The gateway of a member speaks for that member only, so the client rotates. It stays with a
// member while that answers; one that failed, or was silent while another answered, goes to the end
// for a while.
//
// Each member is two targets (base/target.h): for what it cannot do when it is cut off from its
// leader, and for what it answers by itself.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Errors: none. Ownership: the loop and
// the random source outlive it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/target.h"
#include "store/etcd/options.h"

namespace keyfs {

class EtcdEndpoints {
 public:
  EtcdEndpoints(Loop& loop, RandomFraction random, const EtcdOptions& options);

  size_t size() const { return members_.size(); }
  const std::string& url(size_t endpoint) const { return members_[endpoint]->url; }
  const std::string& host(size_t endpoint) const { return members_[endpoint]->host; }
  size_t preferred() const { return preferred_; }
  // So many requests at once to one member, whatever they are for: each has a connection of its own
  // while it lasts (tokens go by HTTP/1.1), and a burst must not open hundreds.
  FairTurns& turns(size_t endpoint) { return *members_[endpoint]->led.calls; }

  // All of them, the best first; a target's index is its endpoint.
  std::vector<Target*> order(bool needs_leader) const;

  void answered(size_t endpoint, bool needed_leader, Duration latency);
  // `alive`: it answered, but could not serve the request without a leader.
  void failed(size_t endpoint, bool needed_leader, const Error& error, Duration latency,
              bool alive);

 private:
  struct Member {
    std::string url;
    std::string host;
    Target led;    // for what needs the leader
    Target alone;  // for the rest
  };
  std::vector<std::unique_ptr<Member>> members_;
  size_t preferred_ = 0;
};

}  // namespace keyfs
