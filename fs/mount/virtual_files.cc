#include "fs/mount/virtual_files.h"

#include <unistd.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

Json milliseconds(const std::optional<Duration>& duration) {
  if (!duration) return nullptr;
  return std::chrono::duration<double, std::milli>(*duration).count();
}

Json time(const std::optional<WallTime>& time) {
  if (!time) return nullptr;
  return to_rfc3339(*time);
}

Json text(const std::string& text) {
  if (text.empty()) return nullptr;
  return text;
}

class VersionFile final : public VirtualFile {
 public:
  explicit VersionFile(const std::string& version) : text_("keyfs " + version + "\n") {}
  std::string_view name() const override { return "version"; }
  std::string render() override { return text_; }

 private:
  const std::string text_;
};

class StatusFile final : public VirtualFile {
 public:
  explicit StatusFile(StatusParts parts)
      : parts_(std::move(parts)), started_(parts_.clock.now()), started_at_(parts_.clock.wall()) {}
  std::string_view name() const override { return "status"; }

  std::string render() override {
    const auto uptime = parts_.clock.now() - started_;
    Json status;
    status["version"] = parts_.version;
    status["pid"] = ::getpid();
    status["started"] = to_rfc3339(started_at_);
    status["uptime_seconds"] = std::chrono::duration_cast<std::chrono::seconds>(uptime).count();
    status["mountpoint"] = text(parts_.mountpoint);
    status["store"] = parts_.store;
    status["regions"] = regions();
    status["create_min_regions"] = parts_.regions.create_min_regions();
    const auto cache = parts_.cache.usage();
    status["cache"] = {{"ids", cache.entries},
                       {"keys", cache.keys},
                       {"evictions", cache.evictions},
                       {"watching", parts_.cache.live()}};
    status["memory"] = memory();
    const MountStatus mount = parts_.mount();
    status["mount"] = {{"known_keys", mount.known_keys},
                       {"waiting_requests", mount.waiting_requests}};
    status["keyring"] = {{"waiting_opens", parts_.keyring.waiting()},
                         {"flights", parts_.keyring.flights()}};
    status["replica"] = replica();
    status["state_dir"] = {{"trouble", text(parts_.state_dir_trouble)}};
    // Why no key can be created here; null if it can.
    std::string refused = parts_.memory.trouble();
    if (refused.empty() && parts_.store_trouble) refused = parts_.store_trouble();
    status["creations"] = {{"refused", text(refused)}};
    const auto healer = parts_.healer.status();
    status["healer"] = {{"waiting", healer.waiting},
                        {"healed", healer.healed},
                        {"failed", healer.failed},
                        {"last_scan", time(healer.last_scan)},
                        {"scans", healer.scans}};
    const auto audit = parts_.audit.status();
    status["audit"] = {{"on", parts_.audit.enabled()},
                       {"required", audit.required},
                       {"lines", audit.lines},
                       {"lost", audit.lost},
                       {"last_error", text(audit.last_error)}};
    status["log"] = {{"lost", parts_.log.lost()}};
    status["rotation"] = rotation();
    status["signing"] = signing();
    status["policy"] = {{"sections", parts_.policy.current().sections().size()}};
    return status.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  }

 private:
  Json regions() const {
    Json all = Json::array();
    for (const auto& region : parts_.regions.status()) {
      Json one;
      one["name"] = region.name;
      one["state"] = to_string(region.state);
      one["open_for_ms"] = milliseconds(region.open_for);
      one["p50_ms"] = milliseconds(region.p50);
      one["p95_ms"] = milliseconds(region.p95);
      one["calls"] = region.calls;
      one["failures"] = region.failures;
      one["last_error"] = text(region.last_error ? region.last_error->message : "");
      one["last_error_at"] = time(region.last_error_at);
      all.push_back(std::move(one));
    }
    return all;
  }
  Json memory() const {
    const auto usage = parts_.arena.usage();
    const size_t most = SecretArena::lockable_bytes();
    Json memory;
    memory["locked_bytes"] = usage.locked_bytes;
    memory["used_bytes"] = usage.used_bytes;
    memory["lockable_bytes"] =
        most == std::numeric_limits<size_t>::max() ? Json(nullptr) : Json(most);
    return memory;
  }
  Json replica() const {
    if (parts_.replica == nullptr) return nullptr;
    const auto status = parts_.replica->status();
    return {{"hits", status.hits},
            {"misses", status.misses},
            {"errors", status.errors},
            {"last_error", text(status.last_error)}};
  }

  Json rotation() const {
    if (!parts_.rotation) return nullptr;
    const RotationBrief brief = parts_.rotation();
    return {{"board", brief.board},
            {"board_reason", text(brief.board_reason)},
            {"board_damaged", brief.damaged},
            {"holder", text(brief.holder)},
            {"is_holder", brief.is_holder},
            {"run", text(brief.run)},
            {"overdue", brief.overdue ? Json(*brief.overdue) : Json()},
            {"overdue_keys", brief.overdue_keys},
            {"overdue_reason", text(brief.overdue_reason)},
            {"troubles", brief.troubles}};
  }

  Json signing() const {
    if (!parts_.signing) return nullptr;
    const SigningBrief brief = parts_.signing();
    const SigningStatus& known = brief.status;
    Json keys = Json::array();
    for (const SigningStatus::Key& key : known.keys) {
      keys.push_back({{"id", key.id},
                      {"custody", key.custody},
                      {"type", text(key.type)},
                      {"fingerprint", text(key.fingerprint)},
                      {"state", key.state},
                      {"problem", text(key.problem)}});
    }
    return {{"on", brief.on},
            {"trouble", text(brief.trouble)},
            {"keys", keys},
            {"queued_deletions", known.queued_deletions},
            {"deletion_trouble", text(known.deletion_trouble)},
            {"unfinished", known.unfinished},
            {"signatures", known.signatures},
            {"failures", known.failures},
            {"made", known.made},
            {"deleted", known.deleted},
            {"last_error", text(known.last_error)}};
  }

  const StatusParts parts_;
  const TimePoint started_;
  const WallTime started_at_;
};

class MetricsFile final : public VirtualFile {
 public:
  MetricsFile(Metrics& metrics, StatusParts parts)
      : metrics_(metrics),
        parts_(std::move(parts)),
        ids_(metrics.gauge("keyfs_cache_ids", "Known key ids.")),
        keys_(metrics.gauge("keyfs_cache_keys", "Keys held in locked memory.")),
        evictions_(metrics.counter("keyfs_cache_evictions_total", "Keys wiped to make room.")),
        locked_(metrics.gauge("keyfs_locked_bytes", "Memory locked for secrets.")),
        inodes_(metrics.gauge("keyfs_known_keys", "Keys that the kernel refers to.")),
        requests_(metrics.gauge("keyfs_waiting_requests", "Requests waiting for a reply.")),
        opens_(metrics.gauge("keyfs_waiting_opens", "Opens waiting for store or regions.")),
        degraded_(metrics.gauge("keyfs_degraded_keys", "Keys known to be missing in a region.")),
        audit_lost_(metrics.counter("keyfs_audit_lost_total", "Lost audit lines.")),
        log_lost_(metrics.counter("keyfs_log_lost_total", "Lost log lines.")) {}
  std::string_view name() const override { return "metrics"; }

  std::string render() override {
    const auto cache = parts_.cache.usage();
    ids_.set(static_cast<double>(cache.entries));
    keys_.set(static_cast<double>(cache.keys));
    evictions_.raise_to(cache.evictions);
    locked_.set(static_cast<double>(parts_.arena.usage().locked_bytes));
    const MountStatus mount = parts_.mount();
    inodes_.set(static_cast<double>(mount.known_keys));
    requests_.set(static_cast<double>(mount.waiting_requests));
    opens_.set(static_cast<double>(parts_.keyring.waiting()));
    degraded_.set(static_cast<double>(parts_.healer.status().waiting));
    audit_lost_.raise_to(parts_.audit.status().lost);
    log_lost_.raise_to(parts_.log.lost());
    if (parts_.sample) parts_.sample();
    return metrics_.text();
  }

 private:
  Metrics& metrics_;
  const StatusParts parts_;
  Gauge& ids_;
  Gauge& keys_;
  Counter& evictions_;
  Gauge& locked_;
  Gauge& inodes_;
  Gauge& requests_;
  Gauge& opens_;
  Gauge& degraded_;
  Counter& audit_lost_;
  Counter& log_lost_;
};

}  // namespace

std::unique_ptr<VirtualFile> make_version_file(const std::string& version) {
  return std::make_unique<VersionFile>(version);
}

std::unique_ptr<VirtualFile> make_status_file(StatusParts parts) {
  return std::make_unique<StatusFile>(std::move(parts));
}

std::unique_ptr<VirtualFile> make_metrics_file(Metrics& metrics, StatusParts parts) {
  return std::make_unique<MetricsFile>(metrics, std::move(parts));
}

void add_virtual_files(VirtualFiles& files, Metrics& metrics, const StatusParts& parts) {
  files.add(make_version_file(parts.version));
  files.add(make_status_file(parts));
  files.add(make_metrics_file(metrics, parts));
}

}  // namespace keyfs
