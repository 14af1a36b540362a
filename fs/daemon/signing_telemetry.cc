#include "fs/daemon/signing_telemetry.h"

namespace keyfs {

SigningTelemetry::SigningTelemetry(Metrics& metrics, Log& log)
    : metrics_(metrics),
      log_(log),
      keys_(metrics.gauge("keyfs_signing_keys", "Signing keys that are known.")),
      unusable_(metrics.gauge("keyfs_signing_keys_unusable",
                              "Signing keys that cannot sign though nobody has disabled them.")),
      queue_(metrics.gauge("keyfs_signing_queue", "Signing keys that wait for their deletion.")),
      unfinished_(metrics.gauge("keyfs_signing_unfinished",
                                "New signing keys that have not got their name yet.")),
      made_(metrics.counter("keyfs_signing_keys_made_total", "Signing keys made by this host.")),
      deleted_(metrics.counter("keyfs_signing_keys_deleted_total",
                               "Signing keys whose deletion this host has scheduled.")) {}

void SigningTelemetry::on_call(const std::string& region, std::string_view operation,
                               const Error* error, Duration latency) {
  const std::string call(operation);
  const std::string outcome(error == nullptr ? std::string_view("ok") : to_string(error->code));
  metrics_
      .counter("keyfs_signing_calls_total", "Calls to a region about signing keys, by outcome.",
               {{"region", region}, {"call", call}, {"outcome", outcome}})
      .add();
  metrics_
      .histogram("keyfs_signing_call_seconds",
                 "Time that a region took to answer about signing keys.",
                 {{"region", region}, {"call", call}})
      .observe(latency);
}

void SigningTelemetry::on_breaker(const std::string& region, BreakerState state, Duration open_for,
                                  const Error* reason) {
  const bool closed = state == BreakerState::kClosed;
  metrics_
      .gauge("keyfs_signing_breaker_open", "1 while its circuit is open or half-open.",
             {{"region", region}})
      .set(closed ? 0 : 1);
  if (closed) {
    log_.info("region " + region + " answers again, and signs", {{"region", region}});
    return;
  }
  log_.warn("region " + region + " does not sign: circuit open, it is not used for now",
            {{"region", region},
             {"reason", reason != nullptr ? reason->message : ""},
             {"retry_in", open_for}});
}

void SigningTelemetry::sample(const SigningStatus& status) {
  size_t unusable = 0;
  for (const SigningStatus::Key& key : status.keys) {
    if (key.state == "unusable") ++unusable;
  }
  keys_.set(static_cast<double>(status.keys.size()));
  unusable_.set(static_cast<double>(unusable));
  queue_.set(static_cast<double>(status.queued_deletions));
  unfinished_.set(static_cast<double>(status.unfinished));
  made_.raise_to(status.made);
  deleted_.raise_to(status.deleted);
}

}  // namespace keyfs
