// A log whose lines a test can check.
//
//   LogCapture log;                      // on its own clock, or LogCapture log(clock);
//   Thing thing(log.log());
//   EXPECT_TRUE(log.has("region us-east-1 is left alone"));
#pragma once

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "support/fake_clock.h"

namespace keyfs {

class LogCapture final : public LogSink {
 public:
  explicit LogCapture(LogOptions options = everything()) : log_(*this, own_clock_, options) {}
  explicit LogCapture(const Clock& clock, LogOptions options = everything())
      : log_(*this, clock, options) {}

  Log& log() { return log_; }

  // Lines without time: level=warn msg="..." region=us-east-1
  std::vector<std::string> lines() const {
    std::lock_guard lock(mutex_);
    return lines_;
  }
  bool has(std::string_view part) const { return count(part) > 0; }
  size_t count(std::string_view part) const {
    const auto all = lines();
    return static_cast<size_t>(std::count_if(all.begin(), all.end(), [&](const std::string& line) {
      return line.find(part) != line.npos;
    }));
  }

  static LogOptions everything() {
    LogOptions options;
    options.least = LogLevel::kDebug;
    options.time = false;
    return options;
  }

  void write(LogLevel /*level*/, std::string_view line) noexcept override {
    std::lock_guard lock(mutex_);
    lines_.emplace_back(line);
  }
  uint64_t lost() const noexcept override { return 0; }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  FakeClock own_clock_;
  Log log_;  // last: it writes when it ends
};

}  // namespace keyfs
