#include "fs/daemon/observer.h"

namespace keyfs {

void DaemonObserver::on_breaker(const std::string& region, BreakerState state, Duration open_for,
                                const Error* reason) {
  RegionTelemetry::on_breaker(region, state, open_for, reason);
  BreakerState& before = breakers_[region];
  if (state == BreakerState::kClosed && before != BreakerState::kClosed && healer_ != nullptr) {
    healer_->note_recovered(region);
  }
  before = state;
}

void DaemonObserver::on_opened(KeySource source, bool created, Duration took) {
  metrics_
      .histogram("keyfs_fetch_seconds", "Duration of opens that the cache could not answer.",
                 {{"source", std::string(to_string(source))}, {"created", created ? "yes" : "no"}})
      .observe(took);
}

void DaemonObserver::on_failed(const Error& error) {
  metrics_
      .counter("keyfs_fetch_failures_total",
               "Opens that the cache could not answer and that failed, by class.",
               {{"error", std::string(to_string(error.code))}})
      .add();
}

void DaemonObserver::on_refreshed(bool ok) {
  metrics_
      .counter("keyfs_refreshes_total", "Background checks of cached keys.",
               {{"outcome", ok ? "ok" : "failed"}})
      .add();
}

void DaemonObserver::on_lost_race() {
  metrics_
      .counter("keyfs_lost_races_total", "Creations that another daemon won; its key is served.")
      .add();
}

void DaemonObserver::on_degraded(const std::string& id, bool suspect) {
  metrics_
      .counter("keyfs_degraded_seen_total", "Records seen that lack a region or hold a wrong wrap.",
               {{"kind", suspect ? "suspect" : "missing"}})
      .add();
  if (healer_ != nullptr) healer_->note_degraded(id, suspect);
}

void DaemonObserver::on_ended(const KeyEntry& entry, uint32_t /*version*/) {
  if (ops_ != nullptr) ops_->key_ended(entry);
}

// Pages of the plain name are shared by all who map it: a new opener must not find the old ones.
void DaemonObserver::on_current_changed(const KeyEntry& entry, uint32_t /*from*/, uint32_t /*to*/) {
  if (ops_ != nullptr) ops_->current_changed(entry);
}

void DaemonObserver::on_created(const std::string&) {
  metrics_.counter("keyfs_created_total", "Keys created by this daemon.").add();
  if (list_ != nullptr) list_->changed();
}

}  // namespace keyfs
