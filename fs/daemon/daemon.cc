#include "fs/daemon/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/log_sink.h"
#include "base/metrics.h"
#include "base/siphash.h"
#include "fs/audit/audit.h"
#include "fs/audit/audit_line.h"
#include "fs/audit/process_info.h"
#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/observer.h"
#include "fs/keys/key_cache.h"
#include "fs/keys/keyring.h"
#include "fs/keys/replica.h"
#include "fs/mount/backend.h"
#include "fs/mount/inode_ids.h"
#include "fs/mount/mountpoint.h"
#include "fs/mount/ops.h"
#include "fs/mount/session.h"
#include "fs/mount/virtual_files.h"
#include "fs/policy/policy.h"
#include "fs/upkeep/healer.h"
#include "fs/upkeep/key_list.h"

namespace keyfs {
namespace {

namespace fs = std::filesystem;

constexpr Duration kKeepWarmEvery = std::chrono::seconds(30);
constexpr Duration kHousekeepingEvery = std::chrono::seconds(60);

Result<void> make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return fail(Code::kUnavailable, "could not make " + path + ": " + error.message());
  return {};
}

// Where the configuration does not say, the journal; where there is none, a file in state_dir.
Result<std::unique_ptr<AuditSink>> open_audit(const Configuration& configuration, Log& log) {
  const Settings& settings = configuration.settings;
  const auto to_file = [&](const std::string& path) -> Result<std::unique_ptr<AuditSink>> {
    if (auto made = make_directory(fs::path(path).parent_path().string()); !made)
      return fail(made.error());
    return open_audit_file(path, settings.audit_group_readable);
  };
  switch (settings.audit_to) {
    case AuditTo::kOff:
      return nullptr;
    case AuditTo::kFile:
      return to_file(settings.audit_path);
    case AuditTo::kJournal:
      break;
  }
  auto journal = open_audit_journal();
  const auto* section = configuration.file.find("keyfs");
  const bool asked_for = section != nullptr && section->find("audit") != nullptr;
  if (journal || asked_for) return journal;
  const std::string path = settings.state_dir + "/audit.jsonl";
  log.info("there is no journal, so the audit goes to " + path);
  return to_file(path);
}

// Whether nothing is asked over a network.
bool all_local(const ConfigFile& file) {
  const auto is = [](const ConfigSection* section, std::string_view type) {
    const auto* found = section == nullptr ? nullptr : section->find("type");
    return found != nullptr && found->value == type;
  };
  const auto regions = file.all("region");
  return is(file.find("store"), "sqlite") &&
         std::all_of(regions.begin(), regions.end(),
                     [&](const ConfigSection* region) { return is(region, "local"); });
}

LogOptions log_options(const Settings& settings, bool journal) {
  LogOptions options;
  options.least = settings.log_level;
  options.format = settings.log_format;
  options.time = !journal;
  return options;
}

}  // namespace

// Members are destroyed from the last to the first: whatever refers to another stands after it.
struct Daemon::Parts {
  explicit Parts(Configuration loaded) : configuration(std::move(loaded)) {}
  ~Parts() {
    stop_loop();
    if (backends) backends->loop().shutdown();
  }

  CurlGlobal curl;
  SystemClock clock;
  DaemonOptions options;
  Configuration configuration;
  std::unique_ptr<LogSink> sink;
  std::optional<Log> log;
  Metrics metrics;
  std::optional<DaemonObserver> observer;
  std::unique_ptr<Backends> backends;
  std::optional<PolicyHolder> policy;
  std::optional<KeyCache> cache;
  std::unique_ptr<Replica> replica;
  std::optional<Keyring> keyring;
  std::optional<KeyList> list;
  std::optional<Healer> healer;
  std::optional<Audit> audit;
  ProcessCache processes{audit_fields};
  VirtualFiles files;
  std::optional<KeyringBackend> fuse_backend;
  std::optional<FuseOps> ops;
  std::unique_ptr<FuseSession> session;
  std::thread loop_thread;

  Result<void> open_log();
  Result<void> open_keys();
  Result<void> open_file_system();
  void start_loop();
  void stop_loop();
  void reload();
  Task<void> keep_warm();
  Task<void> keep_house();
};

Result<void> Daemon::Parts::open_log() {
  if (!options.log_to_file) {
    sink = make_stderr_sink();
    log.emplace(*sink, clock, log_options(configuration.settings, stderr_is_journal()));
    return {};
  }
  auto file = open_file_sink(configuration.settings.state_dir + "/keyfs.log");
  if (!file) return fail(file.error());
  sink = std::move(*file);
  log.emplace(*sink, clock, log_options(configuration.settings, false));
  return {};
}

Result<void> Daemon::Parts::open_keys() {
  const Settings& settings = configuration.settings;
  std::vector<std::string> regions;
  for (const ConfigSection* section : configuration.file.all("region"))
    regions.push_back(section->argument());
  observer.emplace(metrics, *log, regions);
  auto opened = Backends::open(configuration, curl, clock, &*observer);
  if (!opened) return fail(opened.error());
  backends = std::move(*opened);
  Loop& loop = backends->loop();

  if (configuration.policy->sections().empty()) {
    log->warn("no key can be opened by anybody: there is no [keys ...] section");
  }
  policy.emplace(std::move(configuration.policy));
  const CacheRoom room =
      fit_cache(settings.cache_keys, settings.key_bytes, SecretArena::lockable_bytes());
  if (!room.warning.empty()) log->warn(room.warning);
  auto hash = SipHash::random(backends->random());
  if (!hash) return fail(hash.error());
  cache.emplace(CacheOptions{settings.fresh_for, settings.serve_stale_for, room.keys, *hash});
  auto copy = Replica::open(loop, *log, settings.state_dir + "/replica.db", *hash);
  if (copy) {
    replica = std::move(*copy);
  } else {
    log->error("there is no replica of records now: keys can't be read while the store is out",
               {{"reason", copy.error().message}});
  }
  KeyringOptions keyring_options;
  keyring_options.key_bytes = settings.key_bytes;
  keyring_options.open_deadline = settings.open_deadline;
  keyring_options.waiting_opens = settings.waiting_opens;
  keyring_options.creates_per_second = settings.creates_per_second;
  if (all_local(configuration.file)) {
    // One SQLite file does one thing at a time: more at once would only wait there, out of turn.
    keyring_options.fetches_at_once = 16;
    keyring_options.creations_at_once = 4;
  }
  keyring_options.creator = host_name();
  keyring.emplace(KeyringParts{loop, backends->store(), backends->regions(), *cache, backends->arena(),
                               *log, replica.get(), &*observer},
                  keyring_options);
  list.emplace(loop, backends->store(), settings.list_cache_for, settings.key_bytes, *hash);
  HealOptions heal_options;
  heal_options.calls_per_second = settings.heal_calls_per_second;
  heal_options.call_deadline = settings.open_deadline;
  healer.emplace(loop, backends->store(), backends->regions(), *log, heal_options);
  observer->connect(*healer, *list);
  return {};
}

Result<void> Daemon::Parts::open_file_system() {
  const Settings& settings = configuration.settings;
  auto audit_sink = open_audit(configuration, *log);
  if (!audit_sink) return fail(audit_sink.error());
  Audit::Options audit_options;
  audit_options.required = settings.audit_required;
  audit.emplace(std::move(*audit_sink), *log, clock, audit_options);
  auto ids = take_inode_ids(settings.state_dir, clock.wall());
  if (!ids) return fail(ids.error());
  const ConfigSection* store = configuration.file.find("store");
  const auto* store_type = store == nullptr ? nullptr : store->find("type");
  add_virtual_files(
      files, metrics,
      StatusParts{KEYFS_VERSION, options.mount.mountpoint,
                  store_type == nullptr ? "" : store_type->value, clock, backends->arena(), *cache,
                  *policy, *keyring, backends->regions(), replica.get(), *healer, *audit, *log,
                  [this] { return ops ? ops->status() : MountStatus{}; }});
  fuse_backend.emplace(*keyring, *list);
  FuseOptions fuse_options;
  fuse_options.key_bytes = settings.key_bytes;
  fuse_options.open_deadline = settings.open_deadline;
  ops.emplace(FuseParts{backends->loop(), *fuse_backend, *cache, *policy, *audit, processes, files,
                        metrics, *log, *ids},
              fuse_options);
  observer->connect(*ops);
  auto mounted = FuseSession::mount(options.mount, *ops, *log);
  if (!mounted) return fail(mounted.error());
  session = std::move(*mounted);
  return {};
}

void Daemon::Parts::start_loop() {
  Loop& loop = backends->loop();
  loop.spawn(healer->run());
  loop.spawn(keep_warm());
  loop.spawn(keep_house());
  if (backends->store().can_watch()) loop.spawn(backends->store().watch(*keyring));
  loop_thread = std::thread([&loop] {
    pthread_setname_np(pthread_self(), "keyfs-io");
    loop.run();
  });
}

void Daemon::Parts::stop_loop() {
  if (!loop_thread.joinable()) return;
  backends->loop().stop();
  loop_thread.join();
}

// What is slow to make anew is kept: connections to the regions.
Task<void> Daemon::Parts::keep_warm() {
  Loop& loop = backends->loop();
  for (;;) {
    co_await backends->regions().keep_warm();
    co_await loop.sleep_for(kKeepWarmEvery);
  }
}

Task<void> Daemon::Parts::keep_house() {
  Loop& loop = backends->loop();
  for (;;) {
    co_await loop.sleep_for(kHousekeepingEvery);
    log->flush_repeats();
  }
}

void Daemon::Parts::reload() {
  audit->reopen();
  auto next = reload_policy(options.configuration);
  if (!next) {
    log->error("the configuration was not taken, the policy stays as it was",
               {{"reason", next.error().message}});
    return;
  }
  if (policy->replace(std::move(*next))) {
    ops->policy_changed();
    log->info("the policy was read anew");
  } else {
    log->info("the policy is as it was");
  }
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Daemon::~Daemon() = default;

const std::string& Daemon::mountpoint() const { return parts_->session->mountpoint(); }

Result<std::unique_ptr<Daemon>> Daemon::build(const DaemonOptions& options) {
  auto configuration = load_configuration(options.configuration);
  if (!configuration) return fail(configuration.error());
  auto parts = std::make_unique<Parts>(std::move(*configuration));
  parts->options = options;
  {
    // Before anything is made for a mount that can't be. The log may have no place yet: this goes
    // to standard error.
    const auto early_sink = make_stderr_sink();
    Log early(*early_sink, parts->clock);
    if (auto ok = mount_options(options.mount.options, ::geteuid() == 0); !ok)
      return fail(ok.error());
    if (auto fit = prepare_mountpoint(options.mount.mountpoint, early); !fit)
      return fail(fit.error());
  }
  // Nor for mistakes in [store] and [region ...], which come to light when these are built.
  if (parts->configuration.embedded.empty()) {
    auto fit = Backends::open(parts->configuration, parts->curl, parts->clock, nullptr);
    if (!fit) return fail(fit.error());
  }
  if (!parts->configuration.embedded.empty()) {
    SecretArena arena;
    OsRandom random;
    if (auto ok = prepare_embedded(parts->configuration, arena, random); !ok)
      return fail(ok.error());
  }
  if (auto ok = make_directory(parts->configuration.settings.state_dir); !ok)
    return fail(ok.error());
  if (auto ok = parts->open_log(); !ok) return fail(ok.error());
  if (auto ok = parts->open_keys(); !ok) return fail(ok.error());
  if (auto ok = parts->open_file_system(); !ok) return fail(ok.error());
  return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

Result<void> Daemon::run(const DaemonHooks& hooks) {
  Parts& parts = *parts_;
  if (!parts.curl.wipes_openssl()) parts.log->warn("memory that OpenSSL gives back is not wiped");
  parts.start_loop();
  SessionHooks session_hooks;
  session_hooks.on_ready = [&] {
    parts.log->info("mounted", {{"mountpoint", parts.session->mountpoint()}});
    if (hooks.on_ready) hooks.on_ready();
  };
  session_hooks.on_reload = [&] {
    if (hooks.on_reloading) hooks.on_reloading();
    parts.reload();
    if (hooks.on_reloaded) hooks.on_reloaded();
  };
  const auto ended = parts.session->run(session_hooks);
  if (hooks.on_stopping) hooks.on_stopping();
  parts.stop_loop();
  if (parts.replica) parts.backends->loop().run_task(parts.replica->flush());
  parts.log->info("unmounted", {{"mountpoint", parts.session->mountpoint()}});
  return ended;
}

void Daemon::stop() { parts_->session->stop(); }

}  // namespace keyfs
