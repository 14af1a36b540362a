// The log as SPIRE's logger (hclog) reads it from a plugin's standard error:
//   {"@level":"warn","@timestamp":"2026-11-22T03:46:00.123000Z","@message":"...","region":"..."}
//
// Thread-safety, blocking, errors: as LogSink. Ownership: sink and clock outlive it. Give the Log
// spire_log_options().
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"

namespace keyfs {

LogOptions spire_log_options();

class SpireLogSink final : public LogSink {
 public:
  SpireLogSink(LogSink& lines, const Clock& clock) : lines_(lines), clock_(clock) {}
  void write(LogLevel level, std::string_view line) noexcept override;
  uint64_t lost() const noexcept override { return lines_.lost() + lost_; }

 private:
  LogSink& lines_;
  const Clock& clock_;
  std::atomic<uint64_t> lost_{0};
};

}  // namespace keyfs
