// The operator's log: one line per event.
//
//   log.warn("region us-east-1 is failing: circuit open", {{"region", name}, {"reason", reason}});
//
// Thread-safety: everything here may be called from any thread. Ownership: a Log refers to its sink
// and its clock, which must outlive it; it is passed by reference; there is no global log.
// Blocking: formats the line, holds one short lock, and passes it to the sink; the sinks in
// base/log_sink.h only queue it. Errors: none are returned or thrown. Lost lines are counted, and
// the log reports their number as soon as it can.
//
// The message says what the event means for the operator; the fields carry what one searches for.
// Neither holds key material, credentials, or text quoted from a reply that may hold them.
//
// The same message (fields may differ) is written `burst` times within `interval`; then it is held
// back, and after the interval one line says "... (and 312 more like it)". That line is written
// with the next event of any kind, by flush_repeats(), or at the end. A message that must be
// counted separately by region or host must name it in its text.
//
// The line, logfmt: time=2026-11-22T03:46:00.123Z level=warn msg="..." region=us-east-1
// JSON (one object): {"time":"...","level":"warn","msg":"...","region":"us-east-1"}
// Control characters and bytes that are not UTF-8 are escaped in both, so that no value can start a
// line or move a terminal's cursor. A line is at most kMaxLine bytes long, cut with "..." in a
// value.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"

namespace keyfs {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

std::string_view to_string(LogLevel level);                     // "debug", "warn"...
std::optional<LogLevel> log_level_from(std::string_view name);  // the reverse

// Refers to text: must not outlive the call that it is an argument of.
class LogValue {
 public:
  LogValue(std::string_view text) : value_(text) {}  // NOLINT: conversion is what it is for
  LogValue(const std::string& text) : value_(std::string_view(text)) {}  // NOLINT
  LogValue(const char* text) : value_(std::string_view(text)) {}         // NOLINT
  LogValue(bool value) : value_(value) {}                                // NOLINT
  template <std::signed_integral T>
  LogValue(T value) : value_(int64_t{value}) {}  // NOLINT
  template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>) LogValue(T value) : value_(uint64_t{value}) {}  // NOLINT
  LogValue(double value) : value_(value) {}                                        // NOLINT
  template <class Rep, class Period>
  LogValue(std::chrono::duration<Rep, Period> value)  // NOLINT: as "250ms", "1m30s"
      : value_(std::chrono::duration_cast<Duration>(value)) {}

  using Any = std::variant<std::string_view, bool, int64_t, uint64_t, double, Duration>;
  const Any& any() const { return value_; }

 private:
  Any value_;
};

struct LogField {
  std::string_view key;  // a-z 0-9 _
  LogValue value;
};

// Where lines go. Thread-safe, never throws, never blocks.
class LogSink {
 public:
  virtual ~LogSink() = default;
  // One event as one line, without the newline.
  virtual void write(LogLevel level, std::string_view line) noexcept = 0;
  // How many lines could not be written, ever.
  virtual uint64_t lost() const noexcept = 0;
};

enum class LogFormat { kLogfmt, kJson };

struct LogOptions {
  LogLevel least = LogLevel::kInfo;
  LogFormat format = LogFormat::kLogfmt;
  bool time = true;  // off for the journal, which adds its own
  unsigned burst = 10;
  Duration interval = std::chrono::seconds(30);
};

class Log {
 public:
  static constexpr size_t kMaxLine = 3500;

  Log(LogSink& sink, const Clock& clock, LogOptions options = {});
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  using Fields = std::initializer_list<LogField>;
  void debug(std::string_view message, Fields fields = {}) noexcept {
    if (enabled(LogLevel::kDebug)) write(LogLevel::kDebug, message, fields);
  }
  void info(std::string_view message, Fields fields = {}) noexcept {
    write(LogLevel::kInfo, message, fields);
  }
  void warn(std::string_view message, Fields fields = {}) noexcept {
    write(LogLevel::kWarn, message, fields);
  }
  void error(std::string_view message, Fields fields = {}) noexcept {
    write(LogLevel::kError, message, fields);
  }

  bool enabled(LogLevel level) const noexcept { return level >= least_.load(); }
  void set_level(LogLevel least) noexcept { least_ = least; }

  // Writes the "and N more" lines whose interval is over. Call it occasionally, e.g. once a minute;
  // otherwise they wait for the next event.
  void flush_repeats() noexcept;
  // Lines that were lost, here or in the sink. Lines held back as repeats are not among them.
  uint64_t lost() const noexcept;

 private:
  struct Repeats {
    TimePoint since;
    unsigned written = 0;
    uint64_t held_back = 0;
    LogLevel level = LogLevel::kInfo;
  };
  struct Summary {
    LogLevel level;
    std::string message;
    uint64_t held_back;
  };

  void write(LogLevel level, std::string_view message, Fields fields) noexcept;
  bool admit(LogLevel level, std::string_view message, TimePoint now);
  void write_summaries(TimePoint now, bool all);
  void tell_losses(TimePoint now);
  void emit(LogLevel level, std::string_view message, Fields fields);

  LogSink& sink_;
  const Clock& clock_;
  const LogOptions options_;
  std::atomic<LogLevel> least_;
  std::atomic<uint64_t> lost_{0};  // here, before the sink
  std::atomic<int64_t> next_sweep_;

  std::mutex mutex_;  // guards what follows
  std::map<std::string, Repeats, std::less<>> repeats_;
  uint64_t losses_told_ = 0;
  TimePoint losses_told_at_;
};

}  // namespace keyfs
