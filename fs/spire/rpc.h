// A remote call as the plugin sees it, without gRPC.
//
// Thread-safety: RpcCall from any thread; only the first answer counts. Ownership: shared; a call
// that was dropped without an answer is answered kUnavailable. Blocking: never. Errors: codes and
// texts as gRPC's and SPIRE's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

// gRPC's numbers.
//   https://grpc.github.io/grpc/core/md_doc_statuscodes.html
enum class RpcCode {
  kOk = 0,
  kCancelled = 1,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

RpcCode rpc_code(Code code);

struct RpcAnswer {
  RpcCode code = RpcCode::kOk;
  std::string text;  // a message in the wire format if `code` is kOk, otherwise what is wrong

  RpcAnswer(RpcCode c, std::string t) : code(c), text(std::move(t)) {}
  static RpcAnswer of(std::string message) { return {RpcCode::kOk, std::move(message)}; }
  static RpcAnswer of(const Error& error) { return {rpc_code(error.code), error.message}; }
};

class RpcCall {
 public:
  virtual ~RpcCall() = default;
  virtual void answer(RpcAnswer answer) = 0;
  // The caller's, or 30 s from its arrival.
  virtual TimePoint deadline() const = 0;
  // `hook` is called once, on another thread or at once, when the caller has gone; not after an
  // answer.
  virtual void on_cancel(std::function<void()> hook) = 0;
};
using RpcCallPtr = std::shared_ptr<RpcCall>;

}  // namespace keyfs
