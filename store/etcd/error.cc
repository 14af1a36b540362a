#include "store/etcd/error.h"

#include <string_view>

namespace keyfs {
namespace {

// gRPC's codes.
constexpr int kInvalidArgument = 3;
constexpr int kPermissionDenied = 7;
constexpr int kResourceExhausted = 8;
constexpr int kFailedPrecondition = 9;
constexpr int kOutOfRange = 11;
constexpr int kUnavailableCode = 14;
constexpr int kUnauthenticatedCode = 16;

EtcdFailure failure(Code code, std::string message, EtcdNext next) {
  EtcdFailure out{Error(code, std::move(message))};
  out.next = next;
  out.alive = true;
  return out;
}

}  // namespace

EtcdFailure to_failure(const EtcdRefusal& refusal, int status, const std::string& user) {
  const auto says = [&](std::string_view words) {
    return refusal.words.find(words) != std::string::npos;
  };
  const std::string who = user.empty() ? "a client without user and password" : "user " + user;

  if (refusal.code == kUnauthenticatedCode || says("invalid auth token") ||
      says("auth token is not provided") || says("revision of auth store is old") ||
      says("user name is empty")) {
    if (user.empty()) {
      return failure(Code::kUnauthenticated,
                     "etcd asks for a user: set user and password_file in [store]",
                     EtcdNext::kGiveUp);
    }
    return failure(Code::kUnauthenticated, "etcd does not accept keyfs's token",
                   EtcdNext::kNewToken);
  }
  if (says("invalid user ID or password") || says("user name not found")) {
    return failure(Code::kUnauthenticated,
                   "etcd does not know " + who + " with the password in password_file",
                   EtcdNext::kGiveUp);
  }
  if (says("CommonName") || (says("certificate") && status == 400)) {
    return failure(Code::kDenied,
                   "etcd's JSON gateway refuses client certificates with a common name while "
                   "authentication is on: use one without (etcd issue 9691)",
                   EtcdNext::kGiveUp);
  }
  switch (refusal.code) {
    case kPermissionDenied:
      return failure(Code::kDenied,
                     "etcd does not permit this to " + who +
                         ": its role needs readwrite on all keys under the prefix",
                     EtcdNext::kGiveUp);
    case kResourceExhausted:
      if (says("too many requests")) {
        return failure(Code::kThrottled, "too many requests", EtcdNext::kOtherEndpoint);
      }
      if (says("larger than max")) {
        auto out = failure(Code::kUnavailable, "the reply is too large", EtcdNext::kGiveUp);
        out.too_large = true;
        return out;
      }
      return failure(Code::kUnavailable, std::string(kEtcdNoSpace), EtcdNext::kGiveUp);
    case kFailedPrecondition:
      if (says("authentication is not enabled")) {
        auto out = failure(Code::kUnauthenticated, "authentication is not enabled in etcd",
                           EtcdNext::kGiveUp);
        out.no_auth = true;
        return out;
      }
      break;
    case kOutOfRange: {
      auto out = failure(Code::kUnavailable, "the revision no longer exists", EtcdNext::kGiveUp);
      out.compacted = says("compacted");
      if (!out.compacted) out.next = EtcdNext::kOtherEndpoint;  // this member is behind
      return out;
    }
    case kInvalidArgument:
      if (says("too large")) {
        return failure(Code::kInvalid, "the record is larger than etcd accepts", EtcdNext::kGiveUp);
      }
      return failure(
          Code::kInvalid,
          "etcd does not accept the request (HTTP " + std::to_string(status) + ", gRPC code 3)",
          EtcdNext::kGiveUp);
    case kUnavailableCode:
      if (says("no leader")) {
        return failure(Code::kUnavailable, "has no leader", EtcdNext::kOtherEndpoint);
      }
      if (says("timed out")) {
        return failure(Code::kUnavailable, "reached no quorum in time", EtcdNext::kOtherEndpoint);
      }
      break;
    default:
      break;
  }
  return failure(Code::kUnavailable,
                 "failed (HTTP " + std::to_string(status) + ", gRPC code " +
                     std::to_string(refusal.code) + ")",
                 EtcdNext::kOtherEndpoint);
}

}  // namespace keyfs
