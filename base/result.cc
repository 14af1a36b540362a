#include "base/result.h"

namespace keyfs {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "invalid";
    case Code::kDenied:
      return "denied";
    case Code::kUnauthenticated:
      return "unauthenticated";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kThrottled:
      return "throttled";
    case Code::kTimeout:
      return "timeout";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kRevoked:
      return "revoked";
  }
  return "unknown";
}

}  // namespace keyfs
