// The members of an etcd cluster, and whom to ask first.
//
// The gateway of a member speaks for that member only, so the client goes round. It stays with one
// member while that one answers; one that failed, or was overtaken by another while it was silent,
// is left alone for a while and asked last.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/clock.h"

namespace keyfs {

class EtcdEndpoints {
 public:
  explicit EtcdEndpoints(std::vector<std::string> urls);

  size_t size() const { return members_.size(); }
  const std::string& url(size_t endpoint) const { return members_[endpoint].url; }
  const std::string& host(size_t endpoint) const { return members_[endpoint].host; }
  size_t preferred() const { return preferred_; }

  // All of them, the best first. `needs_leader`: for what a member cannot do when it is cut off
  // from its leader.
  std::vector<size_t> order(TimePoint now, bool needs_leader) const;

  void answered(size_t endpoint, bool needed_leader);
  // `alive`: it answered, and could not do what was asked, having no leader.
  void failed(size_t endpoint, TimePoint now, bool alive);

  bool resting(size_t endpoint, TimePoint now) const {
    return members_[endpoint].leaderless_until > now || members_[endpoint].silent_until > now;
  }

 private:
  struct Member {
    std::string url;
    std::string host;
    int failures = 0;  // in a row
    TimePoint silent_until{};
    TimePoint leaderless_until{};
  };
  std::vector<Member> members_;
  size_t preferred_ = 0;
};

}  // namespace keyfs
