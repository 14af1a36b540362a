// Observes regions and keyring: counts for .keyfs/metrics, logs what matters to the operator, and
// wakes the healer.
//
// Thread-safety: none; on the loop's thread, as its callers. Ownership: refers to metrics, log and
// everything that it was connected to, all of which outlive it. Blocking: never. Errors: none.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/metrics.h"
#include "fs/keys/keyring.h"
#include "fs/mount/ops.h"
#include "fs/upkeep/healer.h"
#include "fs/upkeep/key_list.h"
#include "kms/region_telemetry.h"

namespace keyfs {

class DaemonObserver final : public RegionTelemetry, public KeyringObserver {
 public:
  DaemonObserver(Metrics& metrics, Log& log, const std::vector<std::string>& regions)
      : RegionTelemetry(metrics, log, regions), metrics_(metrics) {}

  // Call before the first task runs; all of these are created after the regions, which call us.
  void connect(Healer& healer, KeyList& list) {
    healer_ = &healer;
    list_ = &list;
  }
  void connect(FuseOps& ops) { ops_ = &ops; }

  void on_breaker(const std::string& region, BreakerState state, Duration open_for,
                  const Error* reason) override;

  void on_opened(KeySource source, bool created, Duration took) override;
  void on_failed(const Error& error) override;
  void on_refreshed(bool ok) override;
  void on_lost_race() override;
  void on_degraded(const std::string& id, bool suspect) override;
  void on_ended(const KeyEntry& entry, uint32_t version) override;
  void on_current_changed(const KeyEntry& entry, uint32_t from, uint32_t to) override;
  void on_created(const std::string& id) override;

 private:
  Metrics& metrics_;
  Healer* healer_ = nullptr;
  KeyList* list_ = nullptr;
  FuseOps* ops_ = nullptr;
  std::map<std::string, BreakerState> breakers_;
};

}  // namespace keyfs
