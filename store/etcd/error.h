// What etcd's refusals mean, and what to do about each.
//
// Thread-safety: a plain function. Blocking: never. Errors: they are the result. The message never
// quotes etcd.
#pragma once

#include <string_view>

#include "base/result.h"
#include "store/etcd/messages.h"

namespace keyfs {

// The message while the NOSPACE alarm is on, and what to do about it.
inline constexpr std::string_view kEtcdNoSpace = "etcd has no space left: its quota is used up";
inline constexpr std::string_view kEtcdNoSpaceRemedy =
    "compact and `etcdctl defrag`, or raise --quota-backend-bytes; then `etcdctl alarm disarm`";

enum class EtcdNext {
  kOtherEndpoint,  // another member may be able to
  kNewToken,       // log in again, then retry the same member
  kGiveUp,         // every member would say the same
};

struct EtcdFailure {
  Error error;
  EtcdNext next = EtcdNext::kOtherEndpoint;
  bool alive = false;      // the member answered: it can serve requests that need no leader
  bool compacted = false;  // the requested revision has been compacted
  bool too_large = false;  // the reply would be larger than etcd's gateway can carry
  bool no_auth = false;    // authentication is not enabled
  bool foreign = false;    // a member of another cluster
  bool useless = false;    // it answered, but what it has does not help
};

// `status`: of HTTP. `user`: who sent the request; empty: unauthenticated.
EtcdFailure to_failure(const EtcdRefusal& refusal, int status, const std::string& user);

}  // namespace keyfs
