// Counters, gauges and histograms, exported as Prometheus text.
//
//   Counter& calls = metrics.counter("keyfs_region_calls_total", "Calls to a region, by outcome.",
//                                    {{"region", "us-east-1"}, {"outcome", "ok"}});
//   calls.add();
//
// Ask for a handle once and keep it: asking takes a lock and allocates, using does neither.
//
// Thread-safety: everything may be called from any thread. Handles are atomics without a lock.
// Ownership: Metrics owns what it hands out; handles are valid as long as it lives. Blocking:
// never. Errors: none. A handle is always returned; a caller's mistakes (a name that is not
// keyfs_[a-z0-9_]+, a counter that does not end with _total or something else that does, a name
// asked for as two kinds of metric, an invalid label) give one that works but is not exported, and
// are counted in keyfs_metrics_refused_total.
//
// Names follow Prometheus's practices: base units (seconds, bytes), _total on counters. Label
// values come from a small set: regions, outcomes, error classes; never ids, users or messages.
// Past kMaxSeries sets of values for one name further ones are exported together as "other". Values
// are cut at kMaxLabelValue bytes, and bytes that are not printable ASCII become "?".
//
// Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, 0.0.4).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace keyfs {

// Only grows. Each has its own cache line, so that two do not slow each other down.
class alignas(64) Counter {
 public:
  void add(uint64_t by = 1) noexcept { value_.fetch_add(by, std::memory_order_relaxed); }
  // For a count kept elsewhere: never decreases.
  void raise_to(uint64_t total) noexcept {
    uint64_t now = value();
    while (now < total && !value_.compare_exchange_weak(now, total, std::memory_order_relaxed)) {
    }
  }
  uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Goes up and down.
class alignas(64) Gauge {
 public:
  void set(double value) noexcept { value_.store(value, std::memory_order_relaxed); }
  void add(double by) noexcept { value_.fetch_add(by, std::memory_order_relaxed); }
  double value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// The distribution of observations: a bucket counts those up to and including its bound.
class alignas(64) Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);

  // In the metric's base unit: seconds, bytes.
  void observe(double value) noexcept;
  void observe(Duration duration) noexcept {  // in seconds
    observe(std::chrono::duration<double>(duration).count());
  }

  const std::vector<double>& bounds() const { return bounds_; }
  // For each bucket separately; the last one is for values above every bound.
  std::vector<uint64_t> counts() const;
  uint64_t count() const;
  double sum() const noexcept { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;  // ascending
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  static constexpr size_t kMaxSeries = 200;
  static constexpr size_t kMaxLabelValue = 128;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The same name and labels give the same handle; the first help for a name counts.
  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  // Without bounds: latency_bounds(). All with the same name share the bounds of the first.
  Histogram& histogram(std::string_view name, std::string_view help, const Labels& labels = {},
                       std::vector<double> bounds = {});

  // Seconds from 0.5 ms to 30 s.
  static std::vector<double> latency_bounds();

  // All of them by name, then by labels. Takes the lock.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace keyfs
