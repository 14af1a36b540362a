// A log sink that can be switched while the log is in use: standard error (or the terminal's
// person) until the daemon's own log is ready.
//
// Thread-safety: any thread, as LogSink. Ownership: keeps all sinks that it was given until it is
// destroyed, since a line may be on its way to an earlier one. Blocking, errors: as those sinks.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/log.h"

namespace keyfs {

class SwitchSink final : public LogSink {
 public:
  explicit SwitchSink(std::unique_ptr<LogSink> first) { use(std::move(first)); }

  // On one thread.
  void use(std::unique_ptr<LogSink> next) {
    all_.push_back(std::move(next));
    now_ = all_.back().get();
  }

  // From the first. On the thread of use().
  size_t switches() const { return all_.size() - 1; }

  void write(LogLevel level, std::string_view line) noexcept override {
    now_.load()->write(level, line);
  }
  uint64_t lost() const noexcept override { return now_.load()->lost(); }

 private:
  std::vector<std::unique_ptr<LogSink>> all_;
  std::atomic<LogSink*> now_{nullptr};
};

}  // namespace keyfs
