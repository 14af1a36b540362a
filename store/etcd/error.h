// What etcd's refusals mean, and what to do about each.
//
// Thread-safety: a plain function. Blocking: never. The error's message is in our own words.
#pragma once

#include <string_view>

#include "base/result.h"
#include "store/etcd/messages.h"

namespace keyfs {

// What an error says while the NOSPACE alarm is on, and what is to be done then.
inline constexpr std::string_view kEtcdNoSpace = "etcd has no space left: its quota is used up";
inline constexpr std::string_view kEtcdNoSpaceRemedy =
    "compact and `etcdctl defrag`, or raise --quota-backend-bytes; then `etcdctl alarm disarm`";

enum class EtcdNext {
  kOtherEndpoint,  // this member cannot; another one may
  kNewToken,       // log in again, then ask the same member once more
  kGiveUp,         // every member would say the same
};

struct EtcdFailure {
  Error error;
  EtcdNext next = EtcdNext::kOtherEndpoint;
  bool alive = false;      // the member answered: it can be asked for what needs no leader
  bool compacted = false;  // the revision that was asked for has been forgotten
  bool too_large = false;  // the reply would be larger than etcd's gateway can carry
  bool no_auth = false;    // authentication is not enabled
  bool foreign = false;    // a member of another cluster
  bool useless = false;    // it answered, and what it has does not help
};

// `user`: as whom we asked; empty: as nobody.
EtcdFailure to_failure(const EtcdRefusal& refusal, int status, const std::string& user);

}  // namespace keyfs
