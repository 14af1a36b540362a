// Time enters through a Clock, so that tests can control it.
//
// Thread-safety: everything, from any thread. Blocking: never. Errors: none.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace keyfs {

using Duration = std::chrono::nanoseconds;
// Time since boot, including suspend: the bound on how long a key is served keeps running while the
// machine is suspended.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back; only differences mean something.
  virtual TimePoint now() const = 0;
  // UTC. May jump in either direction when somebody sets the clock.
  virtual WallTime wall() const = 0;
};

// The machine's: CLOCK_BOOTTIME and CLOCK_REALTIME, without a system call (vDSO).
class SystemClock final : public Clock {
 public:
  TimePoint now() const override;
  WallTime wall() const override;
};

// RFC 3339 in UTC: "2026-11-22T03:46:00Z"; `milliseconds` adds ".123".
std::string to_rfc3339(WallTime time, bool milliseconds = false);
void append_rfc3339(std::string& text, WallTime time, bool milliseconds);
// Parses what to_rfc3339 writes; nullopt for anything else.
std::optional<WallTime> from_rfc3339(std::string_view text);

// For people: "250ms", "2s", "5m", "24h", "1m30s". Cut, not rounded, to what is shown.
std::string to_text(Duration duration);

}  // namespace keyfs
