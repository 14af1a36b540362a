#include "fs/cli/telemetry.h"

namespace keyfs {
namespace {

Metrics::Labels labels(const std::string& region, RegionCall call) {
  return {{"region", region}, {"call", std::string(to_string(call))}};
}

Metrics::Labels labels(const std::string& region, RegionCall call, std::string_view outcome) {
  auto all = labels(region, call);
  all.emplace("outcome", outcome);
  return all;
}

constexpr const char* kCalls = "keyfs_region_calls_total";
constexpr const char* kCallsHelp =
    "Calls to a region by outcome: ok, given_up (another was faster), or the class of error.";

}  // namespace

Telemetry::Telemetry(Metrics& metrics, Log& log) : metrics_(metrics), log_(log) {}

void Telemetry::on_call(const std::string& region, RegionCall call, const Error* error,
                        Duration latency) {
  metrics_
      .counter(kCalls, kCallsHelp,
               labels(region, call, error == nullptr ? "ok" : to_string(error->code)))
      .add();
  metrics_
      .histogram("keyfs_region_seconds", "How long calls to a region took.", labels(region, call))
      .observe(latency);
}

void Telemetry::on_given_up(const std::string& region, RegionCall call, Duration) {
  metrics_.counter(kCalls, kCallsHelp, labels(region, call, "given_up")).add();
}

void Telemetry::on_hedge(const std::string& region, RegionCall call) {
  metrics_
      .counter("keyfs_region_hedges_total", "Calls made because another region was slow.",
               labels(region, call))
      .add();
}

void Telemetry::on_fallback(const std::string& region, RegionCall call) {
  metrics_
      .counter("keyfs_region_fallbacks_total", "Calls made because another region failed.",
               labels(region, call))
      .add();
}

void Telemetry::on_breaker(const std::string& region, BreakerState state, Duration open_for,
                           const Error* reason) {
  metrics_
      .gauge("keyfs_region_breaker_open",
             "1: the region is left alone, 0.5: it is being tried, 0: in use.",
             {{"region", region}})
      .set(state == BreakerState::kOpen       ? 1
           : state == BreakerState::kHalfOpen ? 0.5
                                              : 0);
  BreakerState& before = breakers_[region];
  if (state == BreakerState::kOpen && reason != nullptr) {
    log_.warn("region " + region + " is left alone for now; the other regions serve",
              {{"region", region}, {"for", open_for}, {"reason", reason->message}});
  } else if (state == BreakerState::kClosed && before != BreakerState::kClosed) {
    log_.info("region " + region + " is in use again", {{"region", region}});
    if (healer_ != nullptr) healer_->note_recovered(region);
  }
  before = state;
}

void Telemetry::on_opened(KeySource source, bool created, Duration took) {
  metrics_
      .histogram("keyfs_fetch_seconds", "How long opens took that the cache could not answer.",
                 {{"source", std::string(to_string(source))}, {"created", created ? "yes" : "no"}})
      .observe(took);
}

void Telemetry::on_failed(const Error& error) {
  metrics_
      .counter("keyfs_fetch_failures_total",
               "Opens that the cache could not answer and that failed, by class.",
               {{"error", std::string(to_string(error.code))}})
      .add();
}

void Telemetry::on_refreshed(bool ok) {
  metrics_
      .counter("keyfs_refreshes_total", "Background checks of cached keys.",
               {{"outcome", ok ? "ok" : "failed"}})
      .add();
}

void Telemetry::on_stale() {
  metrics_
      .counter("keyfs_stale_reads_total",
               "Keys served though neither store nor replica could be asked.")
      .add();
}

void Telemetry::on_lost_race() {
  metrics_
      .counter("keyfs_lost_races_total", "Creations that another daemon won; its key is served.")
      .add();
}

void Telemetry::on_degraded(const std::string& id, bool suspect) {
  metrics_
      .counter("keyfs_degraded_seen_total",
               "Records seen that lack a region or hold a wrap that is not right.",
               {{"kind", suspect ? "suspect" : "missing"}})
      .add();
  if (healer_ != nullptr) healer_->note_degraded(id);
}

void Telemetry::on_created(const std::string&) {
  metrics_.counter("keyfs_created_total", "Keys made here.").add();
  if (list_ != nullptr) list_->changed();
}

}  // namespace keyfs
