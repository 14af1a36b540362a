#include "fs/daemon/daemon.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <future>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/log_sink.h"
#include "base/metrics.h"
#include "base/siphash.h"
#include "base/syslog_sink.h"
#include "base/thread.h"
#include "fs/audit/audit.h"
#include "fs/audit/audit_line.h"
#include "fs/audit/process_info.h"
#include "fs/daemon/audit_place.h"
#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/keyring_settings.h"
#include "fs/daemon/last_writes.h"
#include "fs/daemon/marked_replica.h"
#include "fs/daemon/masters.h"
#include "fs/daemon/observer.h"
#include "fs/daemon/own_files.h"
#include "fs/daemon/rotation_host.h"
#include "fs/daemon/signing_host.h"
#include "fs/daemon/state_dir.h"
#include "fs/daemon/store_watch.h"
#include "fs/daemon/switch_sink.h"
#include "fs/daemon/terminal_sink.h"
#include "fs/keys/key_cache.h"
#include "fs/keys/keyring.h"
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

constexpr Duration kKeepWarmEvery = std::chrono::seconds(30);
constexpr Duration kHousekeepingEvery = std::chrono::seconds(60);

LogOptions log_options(const Settings& settings, bool journal) {
  LogOptions options;
  options.least = settings.log_level;
  options.format = settings.log_format;
  options.time = !journal;
  return options;
}

}  // namespace

// Members are destroyed from last to first: whatever refers to another comes after it.
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
  SwitchSink sink{make_stderr_sink()};
  std::optional<Log> log;
  std::optional<StateDir> state;
  Metrics metrics;
  std::optional<DaemonObserver> observer;
  std::unique_ptr<Backends> backends;
  std::optional<StoreWatch> store_watch;
  std::optional<PolicyHolder> policy;
  std::optional<KeyCache> cache;
  std::optional<Audit> audit;             // the keyring tells it of creations to its very end
  MarkedReplica copy;                     // its replica is null if there is none
  std::optional<BrokenMemory> no_memory;  // if there is no replica
  std::optional<Keyring> keyring;
  std::optional<KeyList> list;
  std::optional<CallPace> pace;  // of all that works in the background
  std::unique_ptr<RotationHost> rotation;
  std::optional<Healer> healer;
  std::unique_ptr<SigningHost> signing;
  ProcessCache processes{audit_fields};
  VirtualFiles files;
  std::optional<KeyringBackend> fuse_backend;
  std::optional<FuseOps> ops;
  std::unique_ptr<FuseSession> session;
  std::promise<bool> loop_begins;  // false: it never will
  bool loop_began = false;
  std::atomic<bool> reload_reads{false};  // the configuration, now
  std::thread loop_thread;

  void step(const std::string& what, const std::string& path);  // of the start
  void begin_log();
  Result<void> move_log();
  void tell_trouble(std::string_view what, const std::string& why);
  Result<std::string> open_state_dir();
  Result<InodeIds> number_files();
  Result<void> open_keys();
  Result<void> open_file_system();
  Result<void> make_loop_thread();
  void start_loop();
  void stop_loop();
  void reload();
  void reload_is_slow(std::chrono::milliseconds since);
  Task<void> keep_warm();
  Task<void> keep_house();
};

void Daemon::Parts::step(const std::string& what, const std::string& path) {
  if (options.watch != nullptr)
    options.watch->step(what, path, configuration.settings.open_deadline);
}

void Daemon::Parts::begin_log() {
  const bool journal = !options.log_to_file && stderr_is_journal();
  if (options.log_to_file) sink.use(make_terminal_sink());
  log.emplace(sink, clock, log_options(configuration.settings, journal));
}

// Moves the log to its file, for a daemon without standard error. Without state_dir it goes to the
// system's log; if there is none it stays here, and is lost with the terminal.
Result<void> Daemon::Parts::move_log() {
  if (!options.log_to_file) return {};
  auto file = open_file_sink(state->path() + "/keyfs.log");
  if (file) {
    sink.use(std::move(*file));
  } else if (state->usable()) {
    return fail(file.error());
  } else if (auto syslog = open_syslog_sink()) {
    sink.use(std::move(*syslog));
  }
  return {};
}

void Daemon::Parts::tell_trouble(std::string_view what, const std::string& why) {
  log->error(what, {{"reason", why}});
  if (sink.switches() > 1) tell_on_terminal(what, why);  // the log was there, and is elsewhere now
}

Result<std::string> Daemon::Parts::open_state_dir() {
  step("opening state_dir", configuration.settings.state_dir);
  auto prepared = StateDir::prepare(configuration.settings.state_dir);
  if (!prepared) return fail(prepared.error());
  state = std::move(*prepared);
  std::string known = state->for_known_store();
  step("opening the store", store_file(configuration));
  return known;
}

Result<InodeIds> Daemon::Parts::number_files() {
  auto ids = take_inode_ids(configuration.settings.state_dir, clock.wall());
  if (ids || state->usable() || ids.error().code == Code::kCorrupt) return ids;
  log->warn("node ids are taken from the clock", {{"reason", ids.error().message}});
  return inode_ids_by_clock(configuration.settings.state_dir, clock.wall());
}

Result<void> Daemon::Parts::open_keys() {
  const Settings& settings = configuration.settings;
  std::vector<std::string> regions;
  for (const ConfigSection* section : configuration.file.all("region"))
    regions.push_back(section->argument());
  observer.emplace(metrics, *log, regions);
  step("reading the regions' master keys", "");
  const auto refused = check_masters(configuration.file);
  if (!refused) return fail(refused.error());
  const auto tell_refused = [&] {
    for (const std::string& one : *refused) {
      log->error("a region is not used, and no key can be read or created with it",
                 {{"reason", one}});
    }
  };
  if (options.log_to_file) tell_refused();  // on the terminal, too
  step("opening the store", store_file(configuration));
  auto opened =
      Backends::open(configuration, curl, clock, &*observer, [this] { return open_state_dir(); });
  if (!opened) {
    if (state) state->take_back();
    return fail(opened.error());
  }
  backends = std::move(*opened);
  backends->remote().on_warning([this](const std::string& message) { log->warn(message); });
  // Only now, since a mistake in [store] or [region ...] must leave nothing behind.
  if (auto moved = move_log(); !moved) return moved;
  tell_refused();
  if (!state->usable()) {
    tell_trouble(
        "state_dir is not writable: keys are served, but none is created, because this host could "
        "not remember it; the log may go elsewhere as well",
        state->trouble());
  }
  Loop& loop = backends->loop();
  store_watch.emplace(loop, backends->store(), *log, metrics);

  if (configuration.policy->sections().empty()) {
    log->warn("nobody can open any key: there is no [keys ...] section");
  }
  policy.emplace(std::move(configuration.policy));
  const CacheRoom room =
      fit_cache(settings.cache_keys, settings.key_bytes, SecretArena::lockable_bytes());
  if (!room.warning.empty()) log->warn(room.warning);
  auto hash = SipHash::random(backends->random());
  if (!hash) return fail(hash.error());
  cache.emplace(CacheOptions{settings.fresh_for, settings.serve_stale_for, room.keys, *hash});
  const std::string path = settings.state_dir + "/replica.db";
  auto opened_copy = open_marked_replica(loop, *log, backends->random(), path, *hash);
  // Where the known store is not compared, a disk that works again must not permit creations.
  if (backends->doubt()) {
    opened_copy = fail(*backends->doubt());
  } else if (opened_copy && state->for_known_store().empty()) {
    opened_copy = fail(Code::kUnavailable, state->trouble());
  }
  if (opened_copy) {
    copy = std::move(*opened_copy);
  } else {
    no_memory.emplace(opened_copy.error(), how_to_forget(path));
    tell_trouble(
        "this host has no usable replica of records: it creates no keys, because it cannot tell "
        "which ids it has seen, and keys cannot be read while the store is down",
        opened_copy.error().message);
  }
  HostMemory& memory = copy.replica ? static_cast<HostMemory&>(*copy.replica) : *no_memory;
  if (const std::string trouble = memory.trouble(); copy.replica && !trouble.empty()) {
    tell_trouble("this host creates no keys", trouble);
  }
  keyring.emplace(KeyringParts{loop, backends->store(), backends->regions(), *cache,
                               backends->arena(), *log, memory, &*observer},
                  keyring_options(configuration));
  list.emplace(loop, backends->store(), settings.list_cache_for, settings.key_bytes, *hash);
  HealOptions heal_options;
  heal_options.calls_per_second = settings.background_calls_per_second;
  heal_options.call_deadline = settings.open_deadline;
  pace.emplace(loop);
  heal_options.pace = &*pace;
  auto host = RotationHost::build({*backends, *cache, *keyring, memory, *policy, *pace, *log},
                                  configuration, options.mount.mountpoint);
  if (!host) return fail(host.error());
  rotation = std::move(*host);
  rotation->share_scans(heal_options);
  healer.emplace(loop, backends->store(), backends->regions(), *log, heal_options, &memory);
  observer->connect(*healer, *list);
  auto built = SigningHost::build(
      {*backends, metrics, *log,
       [this](const std::string& id) { healer->note_degraded(id, false); }, &memory},
      configuration);
  if (!built) return fail(built.error());
  signing = std::move(*built);
  return {};
}

Result<void> Daemon::Parts::open_file_system() {
  const Settings& settings = configuration.settings;
  step("opening the audit", settings.audit_path);
  auto audit_sink = open_audit(configuration, *log);
  if (!audit_sink) return fail(audit_sink.error());
  Audit::Options audit_options;
  audit_options.required = settings.audit_required;
  audit.emplace(std::move(*audit_sink), *log, clock, audit_options);
  step("numbering files in state_dir", settings.state_dir);
  auto ids = number_files();
  if (!ids) return fail(ids.error());
  const ConfigSection* store = configuration.file.find("store");
  const auto* store_type = store == nullptr ? nullptr : store->find("type");
  StatusParts status{KEYFS_VERSION,
                     options.mount.mountpoint,
                     store_type == nullptr ? "" : store_type->value,
                     clock,
                     backends->arena(),
                     *cache,
                     *policy,
                     *keyring,
                     backends->regions(),
                     copy.replica.get(),
                     copy.replica ? static_cast<const HostMemory&>(*copy.replica) : *no_memory,
                     *healer,
                     *audit,
                     *log,
                     [this] { return ops ? ops->status() : MountStatus{}; },
                     state->trouble(),
                     [this] { return store_watch->trouble(); }};
  if (signs(configuration.file)) {
    status.signing = [this] { return signing->brief(); };
    status.sample = [this] { signing->sample(); };
  }
  rotation->show(files, metrics, std::move(status));
  fuse_backend.emplace(*keyring, *list);
  FuseOptions fuse_options;
  fuse_options.key_bytes = settings.key_bytes;
  fuse_options.open_deadline = settings.open_deadline;
  ops.emplace(FuseParts{backends->loop(), *fuse_backend, *cache, backends->arena(), *policy, *audit,
                        processes, files, metrics, *log, *ids, &rotation->opens(), signing->keys(),
                        signing->is_out()},
              fuse_options);
  observer->connect(*ops);
  if (auto made = make_loop_thread(); !made) return made;
  step("mounting", options.mount.mountpoint);
  auto mounted = FuseSession::mount(options.mount, *ops, *log);
  if (!mounted) return fail(mounted.error());
  session = std::move(*mounted);
  return {};
}

// Started, and waiting, before anything is mounted.
Result<void> Daemon::Parts::make_loop_thread() {
  auto thread = try_start_thread("keyfs-io", [this, begun = loop_begins.get_future().share()] {
    if (begun.get()) backends->loop().run();
  });
  if (!thread) return fail(thread.error());
  loop_thread = std::move(*thread);
  return {};
}

void Daemon::Parts::start_loop() {
  Loop& loop = backends->loop();
  loop.spawn(healer->run());
  loop.spawn(rotation->run());
  loop.spawn(keep_warm());
  loop.spawn(keep_house());
  loop.spawn(store_watch->run());
  loop.spawn(signing->run());
  if (backends->store().can_watch()) {
    loop.spawn(backends->store().watch(signing->listen(*keyring)));
  }
  loop_begins.set_value(true);
  loop_began = true;
}

void Daemon::Parts::stop_loop() {
  if (!loop_thread.joinable()) return;
  if (loop_began) {
    backends->loop().stop();
  } else {
    loop_begins.set_value(false);
  }
  loop_thread.join();
}

// Keeps what is slow to rebuild: connections to the regions.
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
  reload_reads = true;
  auto next = load_configuration(options.configuration);
  reload_reads = false;
  // All of it, as at a start: a file that is being written ends anywhere, and must not take the
  // policy away.
  Result<void> good;
  if (!next) {
    good = fail(next.error());
  } else {
    good = Backends::check(*next, curl, clock);
  }
  if (!good) {
    log->error("reload refused: the configuration has a mistake; the old policy stays in force",
               {{"reason", good.error().message}});
    return;
  }
  std::string names;
  for (const auto& name : needs_restart(configuration, *next)) {
    names += (names.empty() ? "" : ", ") + name;
  }
  const bool new_policy = policy->replace(std::move(next->policy));
  rotation->reload(std::move(next->consumers));
  signing->reload();
  if (new_policy) {
    ops->policy_changed();
    log->info("configuration reloaded; the new policy is in force");
  } else {
    log->info("configuration reloaded; policy unchanged");
  }
  if (!names.empty()) {
    log->warn("some changes in the configuration need a restart", {{"changed", names}});
  }
}

void Daemon::Parts::reload_is_slow(std::chrono::milliseconds since) {
  const ConfigurationSource& source = options.configuration;
  const std::string file = source.embedded.empty() ? source.config : source.embedded;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since).count();
  log->warn(
      "a reload hangs; the configuration in force stays, and what SIGHUP asks for meanwhile "
      "is done afterwards",
      {{"waits_for", reload_reads ? file + " or the users and groups that it names"
                                  : "what [store] and [region ...] name"},
       {"seconds", seconds}});
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Daemon::~Daemon() = default;

const std::string& Daemon::mountpoint() const { return parts_->session->mountpoint(); }

Result<std::unique_ptr<Daemon>> Daemon::build(const DaemonOptions& options) {
  try {
    return build_parts(options);
  } catch (const std::system_error& error) {  // from constructors that start a thread
    return fail(error_of(error));
  }
}

Result<std::unique_ptr<Daemon>> Daemon::build_parts(const DaemonOptions& options) {
  auto configuration = load_configuration(options.configuration);
  if (!configuration) return fail(configuration.error());
  auto parts = std::make_unique<Parts>(std::move(*configuration));
  parts->options = options;
  parts->begin_log();
  parts->step("looking at the mount point", options.mount.mountpoint);
  // Before anything is created for an impossible mount.
  if (auto ok = mount_options(options.mount.options, ::geteuid() == 0); !ok)
    return fail(ok.error());
  const auto target = resolve_mountpoint(options.mount.mountpoint);
  if (!target) return fail(target.error());
  const auto& source = options.configuration;
  if (auto ok = check_hides_nothing_of_ours(*target, parts->configuration,
                                            source.embedded.empty() ? source.config : "");
      !ok)
    return fail(ok.error());
  if (auto fit = prepare_mountpoint(options.mount.mountpoint, *parts->log); !fit)
    return fail(fit.error());
  if (!parts->configuration.embedded.empty()) {
    SecretArena arena;
    OsRandom random;
    if (auto ok = prepare_embedded(parts->configuration, arena, random); !ok)
      return fail(ok.error());
  }
  if (auto ok = parts->open_keys(); !ok) return fail(ok.error());
  if (auto ok = parts->open_file_system(); !ok) return fail(ok.error());
  return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

Result<void> Daemon::run(const DaemonHooks& hooks) {
  Parts& parts = *parts_;
  if (!parts.curl.wipes_openssl()) parts.log->warn("memory that OpenSSL frees is not wiped");
  parts.start_loop();
  auto ended = parts.session->run([&] {
    parts.log->info("mounted", {{"mountpoint", parts.session->mountpoint()}});
    if (hooks.on_ready) hooks.on_ready();
  });
  if (hooks.on_stopping) hooks.on_stopping(ended.has_value());
  parts.stop_loop();
  Loop& loop = parts.backends->loop();
  finish_creations(loop, *parts.keyring, *parts.log);
  parts.rotation->save(kLastWrites);
  if (parts.copy.replica) flush_replica(loop, *parts.copy.replica, *parts.log);
  parts.log->info("unmounted", {{"mountpoint", parts.session->mountpoint()}});
  return ended;
}

void Daemon::reload() { parts_->reload(); }

void Daemon::reload_is_slow(std::chrono::milliseconds since) { parts_->reload_is_slow(since); }

void Daemon::stop() { parts_->session->stop(); }

void Daemon::stop(int signal) {
  parts_->log->info("unmounting", {{"signal", ::strsignal(signal)}});
  stop();
}

}  // namespace keyfs
