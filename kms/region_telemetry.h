// Metrics and log messages about regions.
//
// Thread-safety: none; on the loop's thread (the metrics may be read from any). Blocking: never.
// Ownership: refers to the metrics and the log, which must outlive it. Errors: none.
//
// Metrics
//   keyfs_region_calls_total{region,call,outcome}   call: generate, wrap, unwrap; outcome: ok, or
//                                                   the class of the error (base/result.h)
//   keyfs_region_call_seconds{region,call}          of answered calls, successful or not
//   keyfs_region_given_up_total{region}             calls dropped before they were answered
//   keyfs_region_hedges_total{region}               calls because another region was slow
//   keyfs_region_fallbacks_total{region}            calls because another region failed
//   keyfs_region_breaker_open{region}               1 from the failure that opens it to the next
//                                                   answer
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/metrics.h"
#include "kms/regions.h"

namespace keyfs {

class RegionTelemetry : public RegionObserver {
 public:
  // All series exist from the start, at zero.
  RegionTelemetry(Metrics& metrics, Log& log, const std::vector<std::string>& regions);

  void on_call(const std::string& region, RegionCall call, const Error* error,
               Duration latency) override;
  void on_given_up(const std::string& region, RegionCall call, Duration waited) override;
  void on_hedge(const std::string& region, RegionCall call) override;
  void on_fallback(const std::string& region, RegionCall call) override;
  void on_breaker(const std::string& region, BreakerState state, Duration open_for,
                  const Error* reason) override;

 private:
  static constexpr size_t kCalls = 3;
  struct Handles {
    std::array<Counter*, kCalls> ok{};
    std::array<Histogram*, kCalls> seconds{};
    Counter* given_up = nullptr;
    Counter* hedges = nullptr;
    Counter* fallbacks = nullptr;
    Gauge* breaker_open = nullptr;
  };

  Handles& handles(const std::string& region);
  Counter& calls(const std::string& region, RegionCall call, std::string_view outcome);

  Metrics& metrics_;
  Log& log_;
  std::map<std::string, Handles> handles_;
};

}  // namespace keyfs
