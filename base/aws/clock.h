// AWS's time, as its replies tell it: for a machine whose own clock is wrong.
//
// Thread-safety: none; on the loop's thread. Blocking: never.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/http.h"

namespace keyfs {

// "Sun, 22 Nov 2026 04:00:00 GMT" (RFC 9110, section 5.6.7; AWS sends none of the obsolete forms).
std::optional<WallTime> from_http_date(const std::string& text);

class AwsClock {
 public:
  explicit AwsClock(const Clock& clock) : clock_(clock) {}

  WallTime now() const { return clock_.wall() + offset_; }
  // AWS's time less this machine's; zero until AWS refused a signature for it.
  std::chrono::milliseconds offset() const { return offset_; }
  // Takes over the time of the reply's Date header. False when there is none, or when it is
  // not four minutes away from what was taken to be AWS's time (AWS itself tolerates five).
  bool learn(const HttpResponse& refused);
  // "this machine's clock is 12m behind AWS's", for messages.
  std::string complaint() const;

 private:
  const Clock& clock_;
  std::chrono::milliseconds offset_{0};
};

}  // namespace keyfs
