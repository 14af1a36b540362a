// AWS's time as given in its replies, for a machine whose own clock is wrong.
//
// Thread-safety: none; on the loop's thread. Ownership: the clock outlives it. Blocking: never.
// Errors: none.
#pragma once

#include <chrono>
#include <string>

#include "base/clock.h"
#include "base/http.h"

namespace keyfs {

class AwsClock {
 public:
  explicit AwsClock(const Clock& clock) : clock_(clock) {}

  // AWS's time, as far as known.
  WallTime now() const { return clock_.wall() + offset_; }
  // AWS's time minus this machine's; zero until AWS refuses a signature because of it.
  std::chrono::milliseconds offset() const { return offset_; }
  // Adopts the time in the reply's Date header. False if there is none, or if it is less than four
  // minutes from the time assumed so far (AWS itself tolerates five).
  bool learn(const HttpResponse& refused);
  // "this machine's clock is 12m behind AWS's", for messages.
  std::string complaint() const;

 private:
  const Clock& clock_;
  std::chrono::milliseconds offset_{0};
};

}  // namespace keyfs
