// Errors as values.
//
// Thread-safety: plain values. Blocking: never.
//
// A function that can fail returns Result<T>. There is one code for each case that a caller handles
// differently; everything else is in the message. Absence is not an error: functions that look
// something up return Result<std::optional<T>>.
//
// A message is written for the operator: first what it means, then the reason, e.g.
// "could not create key orders: wrapped in 1 of 2 required regions (us-east-1: timed out after 2
// s)". It never carries key material, credentials, or text quoted from a reply that may hold them.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace keyfs {

enum class Code {
  kInvalid,          // the configuration, the arguments or a request of ours is wrong; do not retry
  kDenied,           // the other side refuses permanently: permission, disabled master, wrong state
  kUnauthenticated,  // credentials are missing, expired or malformed; fresh ones may help
  kUnavailable,      // unreachable, or failed on its side; another try or region may work
  kThrottled,        // too many requests, here or there; slow down
  kTimeout,          // the deadline passed
  kCorrupt,  // a record, blob, context or check value is not what was written. Never recreate
  kRevoked,  // the key is disabled or deleted
};

// A short lower-case name for logs and metrics: "denied", "timeout"...
std::string_view to_string(Code code);

struct Error {
  Code code;
  std::string message;

  Error(Code error_code, std::string text) : code(error_code), message(std::move(text)) {}

  // The same error with context from one level up: "could not read key orders: " + message.
  Error within(std::string_view context) const& {
    return Error(code, std::string(context) + ": " + message);
  }
};

template <class T>
using Result = tl::expected<T, Error>;

// return fail(Code::kTimeout, "...");
inline tl::unexpected<Error> fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}
// return fail(other.error());  return fail(other.error().within("could not ..."));
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace keyfs
