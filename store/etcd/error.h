// What etcd's refusals mean, and what to do about each.
//
// Thread-safety: a plain function. Blocking: never. The error's message is in our own words.
#pragma once

#include "base/result.h"
#include "store/etcd/messages.h"

namespace keyfs {

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
