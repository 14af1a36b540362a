#include "kms/region_telemetry.h"

#include <utility>

namespace keyfs {

RegionTelemetry::RegionTelemetry(Metrics& metrics, Log& log,
                                 const std::vector<std::string>& regions)
    : metrics_(metrics), log_(log) {
  for (const auto& region : regions) handles(region);
}

Counter& RegionTelemetry::calls(const std::string& region, RegionCall call,
                                std::string_view outcome) {
  return metrics_.counter("keyfs_region_calls_total", "Calls to a region, by outcome.",
                          {{"region", region},
                           {"call", std::string(to_string(call))},
                           {"outcome", std::string(outcome)}});
}

RegionTelemetry::Handles& RegionTelemetry::handles(const std::string& region) {
  const auto known = handles_.find(region);
  if (known != handles_.end()) return known->second;
  Handles made;
  for (const auto call : {RegionCall::kGenerate, RegionCall::kWrap, RegionCall::kUnwrap}) {
    const auto place = static_cast<size_t>(call);
    made.ok[place] = &calls(region, call, "ok");
    made.seconds[place] =
        &metrics_.histogram("keyfs_region_call_seconds", "Time that a region took to answer.",
                            {{"region", region}, {"call", std::string(to_string(call))}});
  }
  const Metrics::Labels labels = {{"region", region}};
  made.given_up = &metrics_.counter("keyfs_region_given_up_total",
                                    "Calls dropped before the region answered.", labels);
  made.hedges = &metrics_.counter("keyfs_region_hedges_total",
                                  "Calls made because another region was slow.", labels);
  made.fallbacks = &metrics_.counter("keyfs_region_fallbacks_total",
                                     "Calls made because another region failed.", labels);
  made.breaker_open = &metrics_.gauge("keyfs_region_breaker_open",
                                      "1 while its circuit is open or half-open.", labels);
  return handles_.emplace(region, made).first->second;
}

void RegionTelemetry::on_call(const std::string& region, RegionCall call, const Error* error,
                              Duration latency) {
  const Handles& of_region = handles(region);
  of_region.seconds[static_cast<size_t>(call)]->observe(latency);
  if (error == nullptr) {
    of_region.ok[static_cast<size_t>(call)]->add();
  } else {
    calls(region, call, to_string(error->code)).add();
  }
}

void RegionTelemetry::on_given_up(const std::string& region, RegionCall, Duration) {
  handles(region).given_up->add();
}

void RegionTelemetry::on_hedge(const std::string& region, RegionCall) {
  handles(region).hedges->add();
}

void RegionTelemetry::on_fallback(const std::string& region, RegionCall) {
  handles(region).fallbacks->add();
}

void RegionTelemetry::on_breaker(const std::string& region, BreakerState state, Duration open_for,
                                 const Error* reason) {
  const bool closed = state == BreakerState::kClosed;
  handles(region).breaker_open->set(closed ? 0 : 1);
  if (closed) {
    log_.info("region " + region + " answers again", {{"region", region}});
    return;
  }
  const std::string why = reason != nullptr ? reason->message : "";
  if (reason != nullptr &&
      (reason->code == Code::kDenied || reason->code == Code::kUnauthenticated)) {
    // It will not recover without help.
    log_.error("region " + region +
                   " refuses keyfs: fix its key or keyfs's permission; keys are "
                   "served by the other regions in the meantime",
               {{"region", region}, {"reason", why}, {"retry_in", open_for}});
    return;
  }
  log_.warn("region " + region + " is failing: circuit open, it is not used for now",
            {{"region", region}, {"reason", why}, {"retry_in", open_for}});
}

}  // namespace keyfs
