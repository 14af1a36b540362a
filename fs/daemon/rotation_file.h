// What a daemon shows of rotation: .keyfs/rotation, its part of .keyfs/status, its metrics.
//
// Thread-safety: on the loop's thread, but for the constructors. Ownership: each refers to what it
// is given, which outlives it. Blocking: never. Errors: none.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/metrics.h"
#include "fs/mount/virtual_file.h"
#include "fs/mount/virtual_files.h"
#include "fs/rotation/rotation_status.h"

namespace keyfs {

// The file. `consumers`: Consumers::list().
std::unique_ptr<VirtualFile> make_rotation_file(
    std::function<RotationStatus()> status, std::function<std::vector<SeenConsumer>()> consumers);

RotationBrief rotation_brief(const RotationStatus& status);

// All series are there from the beginning, at zero.
class RotationMetrics {
 public:
  explicit RotationMetrics(Metrics& metrics);
  // Sets them; for StatusParts::sample.
  void sample(const RotationStatus& status);

 private:
  Counter& complete_;
  Counter& in_part_;
  Counter& stopped_;
  Counter& ok_;
  Counter& gone_;
  Counter& failed_;
  Counter& hooks_;
  Counter& board_errors_;
  Counter& missed_;
  Gauge& overdue_;
  Gauge& is_holder_;
  Gauge& board_there_;
  Gauge& board_damaged_;
  Gauge& consumers_;
};

}  // namespace keyfs
