// Follows a run until it has ended: on a terminal by a bar in one line, otherwise by a line for each
// consumer that is over; with --json in silence.
//
// Thread-safety: one thread, which runs the loop inside. Ownership: refers to its parts. Blocking:
// until the run has ended. Errors: kUnavailable once the store has not answered for kSilence, kTimeout
// once no host is seen to run rotations, kInvalid for a run that is not there, or not any more.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "fs/cli/output.h"
#include "fs/cli/rotation.h"
#include "fs/rotation/report.h"

namespace keyfs {

// Notices when no host runs rotations: the holder of the lock renews it every few seconds, and
// another host takes over from one that does not. Where there never was one, there is none after
// kNobody: a daemon takes the lock when it starts.
class HolderWatch {
 public:
  static constexpr Duration kNobody = std::chrono::seconds(15);

  explicit HolderWatch(const RotationDesk& parts) : parts_(parts), since_(parts.loop.now()) {}

  // kTimeout, with what that means for the user; also while the lock is damaged. A store that does not
  // answer is no such error.
  Result<void> look();
  // What a ticket waits for, in a line for people; after look().
  std::string waits_for() const;

 private:
  // A holder that was not heard from for so long does not act any more.
  static constexpr Duration kActs = std::chrono::seconds(20);

  const RotationDesk& parts_;
  RunHolder last_;
  TimePoint since_;
};

class RotationWatch {
 public:
  static constexpr Duration kSilence = std::chrono::minutes(1);

  // `quiet`: shows nothing.
  RotationWatch(const RotationDesk& parts, Output& output, bool quiet = false)
      : parts_(parts), output_(output), quiet_(quiet || output.json()) {}

  // The newest run; if tickets wait, and none is going on, the next one, once it has begun. nullopt:
  // there was no run yet, and none is asked for.
  Result<std::optional<RunReport>> next();
  // Shows what a ticket waits for, as next() does, until clear().
  void show_waiting(const HolderWatch& holder);
  // Takes the bar away, if there is one.
  void clear();

  // Returns the report of the run once it has ended. `report`: how it was when it was last seen.
  Result<RunReport> run(RunReport report);

 private:
  void show(const RunReport& report);
  void show_line(std::string line);
  void show_stage(std::string stage);

  const RotationDesk& parts_;
  Output& output_;
  const bool quiet_;
  std::set<std::pair<std::string, std::string>> told_;  // consumer and host
  std::string stage_;                                   // told last
  bool bar_ = false;                                    // there is a bar in the line
};

// What is shown while nobody has taken up a ticket, or a retry.
inline constexpr const char* kWaitsForAHost = "waiting for a host to run it";

// "[=====>              ] 16/65, 1 failed: app-17 on web-3", in `columns` at most.
std::string progress_bar(const RunReport& report, size_t columns);

}  // namespace keyfs
