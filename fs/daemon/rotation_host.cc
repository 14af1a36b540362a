#include "fs/daemon/rotation_host.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/lazy_worker.h"
#include "base/race.h"
#include "base/wake.h"
#include "fs/daemon/daemon_name.h"
#include "fs/daemon/instance_file.h"
#include "fs/daemon/instance_holder.h"
#include "fs/daemon/rotation_file.h"
#include "fs/keys/memory_notebook.h"
#include "fs/rotation/board_watch.h"
#include "fs/rotation/consumers.h"
#include "fs/rotation/host_keys.h"
#include "fs/rotation/key_changer.h"
#include "fs/rotation/refresher.h"
#include "fs/rotation/retirement.h"
#include "fs/rotation/schedule.h"
#include "fs/rotation/watched_board.h"
#include "fs/rotation/webhook.h"
#include "fs/rotation/webhook_notices.h"
#include "fs/upkeep/key_versions.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookForPolicy = 24h;  // a change of it is told
constexpr Duration kWaitForFormer = 1s;   // that is about to end
constexpr Duration kAskDisk = 5s;

RotationOptions rotation_options(const Configuration& configuration, std::string name) {
  const RotationSettings& settings = configuration.rotation;
  RotationOptions options;
  options.host = std::move(name);
  options.run = settings.run;
  options.feed.poll_every = settings.poll_every;
  options.runner.settle = settings.settle;
  options.runner.parallel = settings.parallel;
  options.runner.stop_after = stop_after_of(settings);
  options.runner.pulse_shards = settings.pulse_shards;
  return options;
}

// Whether this daemon's files in state_dir are its own still. By a worker.
Result<void> check_ours(const InstanceHolder& holder) {
  const auto successor = holder.successor();
  if (!successor) return {};
  return fail(Code::kUnavailable, "another keyfs was started with this state_dir (pid " +
                                      std::to_string(*successor) + "), and has these files");
}

// Changed records, where the store cannot announce them itself.
class ChangesToKeyring final : public RecordsListener {
 public:
  explicit ChangesToKeyring(Keyring& keyring) : keyring_(keyring) {}
  void on_records(const std::vector<std::string>& ids) override {
    for (const std::string& id : ids) keyring_.on_change(id, std::nullopt);
  }
  void on_records_gap() override { keyring_.on_gap(); }

 private:
  Keyring& keyring_;
};

}  // namespace

StopAfter stop_after_of(const RotationSettings& settings) {
  StopAfter limits;
  if (settings.stop_after_percent) {
    limits.percent = *settings.stop_after_percent;
  } else {
    limits.percent = 100;
    limits.in_a_row = 0;
  }
  return limits;
}

// Members are destroyed from last to first: whatever refers to another comes after it.
struct RotationHost::Impl {
  Impl(RotationHostParts the_parts, const Configuration& configuration,
       const std::string& mountpoint)
      : parts(the_parts),
        settings(configuration.rotation),
        loop(parts.backends.loop()),
        board(observe(parts.backends.store().board())),
        first(is_first_mount(configuration.settings.state_dir, mountpoint)),
        name(daemon_name(host_name(), configuration.settings.state_dir, machine_id(),
                         first ? "" : mountpoint)),
        instance_file(configuration.settings.state_dir + "/instance" +
                      (first ? "" : "-" + path_mark(mountpoint, ""))),
        holder(instance_file + ".daemon"),
        disk(loop, "keyfs-instance"),
        rules(std::make_unique<const ConsumerRules>(configuration.consumers)),
        keys(loop, parts.backends.store(), parts.cache, parts.keyring),
        notebook(parts.memory),
        versions(loop, parts.backends.store(), parts.backends.regions(), parts.memory, notebook,
                 host_name(), configuration.settings.open_deadline),
        changer(versions, parts.pace, configuration.file.all("region").size(),
                configuration.settings.background_calls_per_second),
        retirer(loop, versions, parts.backends.store(), parts.backends.random(),
                settings.pulse_shards),
        changes(parts.keyring),
        policy_changed(loop) {
    for (const ConfigSection* region : configuration.file.all("region")) {
      regions.push_back(region->argument());
    }
    if (const auto former = holder.take(kWaitForFormer)) {
      parts.log.warn(
          "another keyfs with this state_dir runs still: its mount was taken away while it was in "
          "use (umount -l), or a private mount namespace holds a copy of it still; it ends once "
          "the files that are open there are closed and no copy is left, or by SIGTERM. This one "
          "has its name from now on, and tells its programs of new keys",
          {{"pid", std::to_string(*former)}});
    }
    const std::string file = configuration.settings.state_dir + "/consumers" +
                             (first ? "" : "-" + path_mark(mountpoint, "")) + ".json";
    Consumers::Current current = [this](const KeyEntry& entry) {
      return parts.cache.known(entry, loop.now()).memory.version;
    };
    consumers = Consumers::open(loop, parts.log, *rules, file, std::move(current));
    consumers->write_while([of = holder] { return check_ours(of); });
    HostRefresher::Options hooks;
    hooks.mountpoint = mountpoint;
    refresher.emplace(loop, parts.backends.poller(), parts.backends.arena(), *consumers,
                      std::move(hooks));
    if (!settings.webhook_file.empty()) open_webhook();
  }

  // One that could not be mounted leaves a daemon that runs still what it has.
  ~Impl() {
    if (!began) holder.give_back();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Board* observe(Board* of_the_store);
  void open_webhook();
  Result<void> make_rotation(const Configuration& configuration);
  Task<void> run();
  Task<bool> keep_consumers();
  Task<bool> take_part();
  Task<bool> watch_board();
  Task<bool> work_as_holder();
  Task<OtherLife> other_life();
  Task<void> keep(HostIdentity identity);
  ScheduleOptions schedule_options(const Policy& policy) const;
  RetirementOptions retirement_options(const Policy& policy) const;

  const RotationHostParts parts;
  const RotationSettings settings;
  Loop& loop;
  std::optional<WatchedBoard> watched;
  Board* const board;  // `watched`; null: the store has none
  const bool first;
  const std::string name;  // its plain name
  const std::string instance_file;
  InstanceHolder holder;  // of instance_file
  bool began = false;
  LazyWorker disk;
  std::vector<std::string> regions;
  std::unique_ptr<const ConsumerRules> rules;
  std::unique_ptr<Consumers> consumers;
  CachedHostKeys keys;
  std::optional<HostRefresher> refresher;
  std::unique_ptr<HttpClient> web;
  std::optional<Webhook> webhook;
  std::optional<WebhookNotices> notices;
  MemoryNotebook notebook;
  KeyVersions versions;
  PacedKeyVersions changer;
  ToldRetirer retirer;
  ChangesToKeyring changes;
  Wake policy_changed;
  std::optional<BoardWatch> watch;
  std::unique_ptr<Rotation> rotation;
  std::optional<RotationMetrics> metrics;
};

Board* RotationHost::Impl::observe(Board* of_the_store) {
  if (of_the_store == nullptr) return nullptr;
  return &watched.emplace(loop, *of_the_store);
}

void RotationHost::Impl::open_webhook() {
  auto client = parts.backends.remote().web_client();
  if (!client) {
    parts.log.error("nobody is told of rotations: the webhook cannot be used",
                    {{"reason", client.error().message}});
    return;
  }
  web = std::move(*client);
  webhook.emplace(*web, settings.webhook_file);
  notices.emplace(*webhook);
}

Result<void> RotationHost::Impl::make_rotation(const Configuration& configuration) {
  if (board == nullptr) return {};
  watch.emplace(loop, *board, parts.log);
  RotationParts its{*consumers, keys, *refresher, changer};
  if (notices) its.notices = &*notices;
  if (!parts.backends.store().can_watch()) its.records = &changes;
  its.also = [this] { return work_as_holder(); };
  RotationOptions options = rotation_options(configuration, name);
  options.runner.retires = [this](const std::string& id) {
    return parts.policy.current().section_for(id).retire_after.has_value();
  };
  options.runner.shortest_period = [this]() -> std::optional<Duration> {
    std::optional<Duration> shortest;
    for (const PolicySection& section : parts.policy.current().sections()) {
      if (!section.rotate_every) continue;
      const Duration every = *section.rotate_every;
      if (!shortest || every < *shortest) shortest = every;
    }
    return shortest;
  };
  auto identity = take_identity(instance_file, parts.backends.random(), parts.log);
  if (!identity) return fail(identity.error());
  options.agent.identity = std::move(*identity);
  options.agent.on_identity = [this](const std::string& /*host*/, const HostIdentity& now) {
    loop.spawn(keep(now));
  };
  options.agent.other_life = [this] { return other_life(); };
  auto made = Rotation::make(loop, *board, parts.log, parts.backends.random(), std::move(its),
                             std::move(options));
  if (!made) return fail(made.error());
  rotation = std::move(*made);
  consumers->on_change([this] { rotation->agent().on_consumers_changed(); });
  return {};
}

Task<OtherLife> RotationHost::Impl::other_life() {
  // A copy, since a disk may hang longer than this lives.
  const std::function<Result<bool>()> work = [of = holder]() -> Result<bool> {
    return of.successor().has_value();
  };
  auto asking = disk.run(work);
  const auto followed =
      co_await before(loop, loop.now() + kAskDisk, "reading state_dir", std::move(asking));
  if (!followed || !*followed) co_return OtherLife::kCopy;
  co_return consumers->has_unwritten() ? OtherLife::kUnknowing : OtherLife::kSuccessor;
}

Task<void> RotationHost::Impl::keep(HostIdentity identity) {
  const std::function<Result<bool>()> work = [of = holder, path = instance_file,
                                              identity]() -> Result<bool> {
    if (!check_ours(of)) return true;  // the successor's
    if (auto ok = keep_identity(path, identity); !ok) return fail(ok.error());
    return true;
  };
  const auto kept = co_await disk.run(work);
  if (kept) co_return;
  parts.log.warn("this host's name on the board may be another one after the next start",
                 {{"reason", kept.error().message}});
}

Task<void> RotationHost::Impl::run() {
  began = true;
  TaskGroup<bool> tasks(loop);
  tasks.start(keep_consumers());
  if (rotation != nullptr) {
    tasks.start(watch_board());
    tasks.start(take_part());
  }
  while (!tasks.empty()) co_await tasks.next();
}

Task<bool> RotationHost::Impl::keep_consumers() {
  co_await consumers->keep();
  co_return true;
}

Task<bool> RotationHost::Impl::watch_board() {
  co_await watch->run();
  co_return true;
}

Task<bool> RotationHost::Impl::take_part() {
  co_await watch->until_there();
  co_await rotation->run();
  co_return true;
}

ScheduleOptions RotationHost::Impl::schedule_options(const Policy& policy) const {
  ScheduleOptions options;
  options.period = [&policy](const std::string& id) -> Duration {
    return policy.section_for(id).rotate_every.value_or(std::chrono::milliseconds(0));
  };
  for (const PolicySection& section : policy.sections()) {
    if (!section.rotate_every) continue;
    const Duration every = *section.rotate_every;
    if (options.shortest == Duration::zero() || every < options.shortest) options.shortest = every;
  }
  // Tickets are seen at once or at the next look at the pulse, and then settle.
  options.ahead = settings.settle;
  if (!board->can_watch()) options.ahead += Duration(settings.poll_every);
  options.by = name;
  options.pulse_shards = settings.pulse_shards;
  return options;
}

RetirementOptions RotationHost::Impl::retirement_options(const Policy& policy) const {
  RetirementOptions options;
  options.after = [&policy](const std::string& id) -> std::optional<Duration> {
    return policy.section_for(id).retire_after;
  };
  for (const PolicySection& section : policy.sections()) {
    if (!section.retire_after) continue;
    const Duration after = *section.retire_after;
    if (!options.shortest || after < *options.shortest) options.shortest = after;
  }
  options.regions = regions;
  return options;
}

// Beside the runner, while this host holds the lock: begun anew with each new policy, which says
// what is rotated and retired.
Task<bool> RotationHost::Impl::work_as_holder() {
  const Tenure& tenure = *rotation->lock();
  Store& store = parts.backends.store();
  for (;;) {
    const Policy& policy = parts.policy.current();  // its holder keeps it
    Schedule schedule(loop, *board, parts.backends.random(), schedule_options(policy));
    ScheduleWork scheduling(loop, store, parts.log, tenure, schedule);
    Retirement retirement(loop, store, *board, parts.log, tenure, retirer,
                          retirement_options(policy));
    TaskGroup<bool> tasks(loop);
    tasks.start(scheduling.work());
    tasks.start(retirement.work());
    while (&parts.policy.current() == &policy)
      co_await policy_changed.wait(loop.now() + kLookForPolicy);
  }
}

RotationHost::RotationHost(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RotationHost::~RotationHost() = default;

Result<std::unique_ptr<RotationHost>> RotationHost::build(RotationHostParts parts,
                                                          const Configuration& configuration,
                                                          const std::string& mountpoint) {
  auto impl = std::make_unique<Impl>(parts, configuration, mountpoint);
  if (auto made = impl->make_rotation(configuration); !made) return fail(made.error());
  return std::unique_ptr<RotationHost>(new RotationHost(std::move(impl)));
}

const std::string& RotationHost::name() const {
  return impl_->rotation != nullptr ? impl_->rotation->host() : impl_->name;
}
OpenListener& RotationHost::opens() { return *impl_->consumers; }
Task<void> RotationHost::run() { return impl_->run(); }
const Rotation* RotationHost::rotation() const { return impl_->rotation.get(); }

RotationStatus RotationHost::status() const {
  return rotation_status(impl_->rotation.get(), impl_->watched ? &*impl_->watched : nullptr,
                         *impl_->consumers);
}

std::vector<SeenConsumer> RotationHost::consumers() { return impl_->consumers->list(); }

void RotationHost::show(VirtualFiles& files, Metrics& metrics, StatusParts parts) {
  impl_->metrics.emplace(metrics);
  parts.rotation = [this] { return rotation_brief(status()); };
  parts.sample = [this, others = std::move(parts.sample)] {
    if (others) others();
    impl_->metrics->sample(status());
  };
  add_virtual_files(files, metrics, parts);
  files.add(make_rotation_file([this] { return status(); }, [this] { return consumers(); }));
}

bool RotationHost::may_scan() const {
  if (impl_->rotation == nullptr) return true;
  if (impl_->watch->absent() || impl_->watch->nobody_holds()) return true;
  const RunLock* lock = impl_->rotation->lock();
  return lock != nullptr && lock->may_act();
}

void RotationHost::share_scans(HealOptions& options) {
  constexpr Duration kFirstOfFleet = 15min;
  options.may_scan = [this] { return may_scan(); };
  if (impl_->rotation != nullptr && !impl_->parts.backends.store().can_watch()) {
    options.first_scan = kFirstOfFleet;
  }
}

void RotationHost::reload(ConsumerRules rules) {
  auto next = std::make_shared<std::unique_ptr<const ConsumerRules>>(
      std::make_unique<const ConsumerRules>(std::move(rules)));
  impl_->loop.post([impl = impl_.get(), next] {
    impl->consumers->set_rules(**next);
    impl->rules = std::move(*next);  // the former ones end
    impl->policy_changed.set();
  });
}

void RotationHost::save(Duration patience) {
  const auto saved = [](Consumers& consumers) -> Task<Result<bool>> {
    co_return co_await consumers.save();
  };
  const auto done =
      impl_->loop.run_task(before(impl_->loop, impl_->loop.now() + patience,
                                  "writing who uses which keys", saved(*impl_->consumers)));
  if (!done) {
    impl_->parts.log.warn(
        "could not save which programs use keys: after a restart of keyfs a rotation may not tell "
        "all of them",
        {{"reason", done.error().message}});
  }
}

}  // namespace keyfs
