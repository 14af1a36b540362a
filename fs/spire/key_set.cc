#include "fs/spire/key_set.h"

#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/aws/credentials_sources.h"
#include "base/crypto.h"
#include "base/race.h"
#include "base/thread.h"
#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/masters.h"
#include "fs/daemon/remote_parts.h"
#include "fs/sign/store_shelf.h"
#include "fs/spire/prefixed_custody.h"
#include "kms/aws_region_factory.h"
#include "kms/signing/kms_custody.h"
#include "kms/signing/wrapped_custody.h"

namespace keyfs {
namespace {

// What custody "kms" stands on.
struct KmsParts {
  KmsParts(CurlGlobal& curl, const Clock& clock)
      : poller(curl), loop(clock, poller), remote(loop, poller, arena, random) {}
  ~KmsParts() { loop.shutdown(); }

  SecretArena arena;
  OsRandom random;
  CurlPoller poller;
  Loop loop;
  RemoteParts remote;
};

// Tells which region has stopped signing, and which does so again.
class RegionLog final : public SigningObserver {
 public:
  explicit RegionLog(Log& log) : log_(log) {}
  void on_call(const std::string&, std::string_view, const Error*, Duration) override {}
  void on_breaker(const std::string& region, BreakerState state, Duration open_for,
                  const Error* reason) override {
    if (state == BreakerState::kClosed) {
      log_.info("region " + region + " answers again", {{"region", region}});
    } else if (state == BreakerState::kOpen) {
      log_.warn("region " + region + " is not used for now",
                {{"region", region},
                 {"reason", reason != nullptr ? reason->message : ""},
                 {"retry_in", open_for}});
    }
  }

 private:
  Log& log_;
};

// The directory of this server's journal: two servers may share one state_dir.
Result<std::string> own_directory(const SpireSettings& settings) {
  const std::string& dir = settings.state_dir;
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(Code::kInvalid, "state_dir " + dir + " could not be made: " +
                                    std::generic_category().message(errno) +
                                    "; make it for the user that SPIRE runs as, or name another");
  }
  std::string name = wrapped_prefix(settings.trust_domain, settings.server);
  name.pop_back();
  if (name.size() > 255) return fail(Code::kInvalid, "the key identifier is too long");
  return dir + "/" + name;
}

}  // namespace

struct KeySet::Impl {
  // How a call that was cancelled reaches the set, if it is still there.
  struct Door {
    std::mutex mutex;
    Impl* impl = nullptr;
  };

  explicit Impl(Log& l) : log(l), region_log(l) { door->impl = this; }
  ~Impl() {
    {
      std::lock_guard lock(door->mutex);
      door->impl = nullptr;
    }
    if (loop != nullptr) {
      loop->stop();
      if (thread.joinable()) thread.join();
      loop->shutdown();  // ends run(), which uses the keys
      calls.reset();     // what still runs is answered when it is dropped
    }
    keys.reset();
    own_names.reset();
    custody.reset();
    shelf.reset();
  }

  Result<void> make_kms(SpireSettings& settings, CurlGlobal& curl, const Clock& clock) {
    kms.emplace(curl, clock);
    loop = &kms->loop;
    kms->remote.on_warning([this](const std::string& message) { log.warn(message); });
    if (!settings.access_key_id.empty()) {
      // Into this set's own memory, which outlives its clients.
      auto secret = kms->arena.copy_of(settings.secret_access_key.reveal());
      if (!secret) return fail(secret.error());
      auto credentials = make_credentials("access_key_id and secret_access_key",
                                          settings.access_key_id, std::move(*secret), {}, "");
      if (!credentials) return fail(credentials.error());
      if (auto used = kms->remote.use_credentials(*credentials); !used) return fail(used.error());
    }
    std::vector<KmsSigningRegion> regions;
    for (const std::string& region : settings.regions) {
      KmsAccess access;
      access.region = region;
      access.endpoint = settings.endpoint;
      access.allow_plain_http = settings.allow_plain_http;
      auto client = kms->remote.kms_client(access);
      if (!client) return fail(client.error());
      regions.push_back({region, std::move(*client)});
    }
    KmsCustodyOptions options;
    options.alias_prefix = alias_prefix_of_server(settings);
    options.siblings_prefix = alias_prefix_of_domain(settings);
    options.description_prefix = description_prefix(settings);
    options.former_description_prefix = former_description_prefix(settings);
    options.policy = settings.policy;
    options.tags = settings.tags;
    auto made = make_kms_custody(*loop, random_fraction(kms->random), std::move(regions),
                                 std::move(options), &region_log);
    if (!made) return fail(made.error());
    custody = std::move(*made);
    return {};
  }

  Result<void> make_wrapped(const SpireSettings& settings, CurlGlobal& curl, const Clock& clock) {
    ConfigurationSource source;
    source.config = settings.config;
    auto configuration = load_configuration(source);
    if (!configuration) return fail(configuration.error().within("config"));
    if (auto bad = check_masters(configuration->file); !bad) return fail(bad.error());
    auto opened = Backends::open(*configuration, curl, clock, nullptr);
    if (!opened) return fail(opened.error());
    backends = std::move(*opened);
    loop = &backends->loop();
    if (backends->doubt()) return fail(*backends->doubt());
    backends->remote().on_warning([this](const std::string& message) { log.warn(message); });
    shelf = make_store_shelf(*loop, backends->store(), host_name());
    WrappedCustodyOptions options;
    options.degraded = [this](const std::string& id) {
      log.warn("a new key is not wrapped in all regions yet; a keyfs daemon on this store fills in",
               {{"key_id", id}});
    };
    custody = make_wrapped_custody(*loop, backends->arena(), backends->random(),
                                   backends->regions(), *shelf, std::move(options));
    own_names =
        make_prefixed_custody(*custody, wrapped_prefix(settings.trust_domain, settings.server));
    return {};
  }

  Random& random() { return kms ? static_cast<Random&>(kms->random) : backends->random(); }

  Task<int> work(RpcCallPtr call, KeyMethod method, std::string request) {
    RpcAnswer answer =
        co_await serve_keys(*keys, log, method, std::move(request), call->deadline());
    call->answer(std::move(answer));
    co_return 0;
  }

  // Takes calls that are done out of their group, which never becomes empty.
  Task<void> reap() {
    calls->start(for_ever());
    // Not as a loop's condition: g++ 12 reads that from memory that nobody has written.
    for (;;) {
      const auto done = co_await calls->next();
      if (!done) break;
    }
  }
  Task<int> for_ever() {
    for (;;) co_await loop->sleep_for(std::chrono::hours(24));
    co_return 0;
  }

  Log& log;
  RegionLog region_log;
  const std::shared_ptr<Door> door = std::make_shared<Door>();
  std::optional<KmsParts> kms;  // one of the two
  std::unique_ptr<Backends> backends;
  Loop* loop = nullptr;  // theirs
  std::unique_ptr<SigningShelf> shelf;
  std::unique_ptr<Custody> custody;
  std::unique_ptr<Custody> own_names;
  std::unique_ptr<SigningKeys> keys;
  std::optional<TaskGroup<int>> calls;
  std::thread thread;
};

KeySet::KeySet(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KeySet::~KeySet() = default;

Result<std::shared_ptr<KeySet>> KeySet::build(SpireSettings settings, CurlGlobal& curl,
                                              const Clock& clock, Log& log, TimePoint deadline) {
  auto impl = std::make_unique<Impl>(log);
  Impl& self = *impl;
  const bool wrapped = settings.custody == SpireSettings::Custody::kWrapped;
  auto made =
      wrapped ? self.make_wrapped(settings, curl, clock) : self.make_kms(settings, curl, clock);
  if (!made) return fail(made.error());
  auto directory = own_directory(settings);
  if (!directory) return fail(directory.error());

  SigningOptions options;
  options.directory = std::move(*directory);
  options.grace = settings.grace;
  // SPIRE makes a few in a day. Far more than it needs when it is set up anew again and again, and far
  // fewer than a crash loop would make.
  options.keys_per_hour = 240;
  options.keeps_alive = true;
  options.disposes = true;
  Custody* custody = self.own_names ? self.own_names.get() : self.custody.get();
  SigningKeys::Parts parts{*self.loop, log, random_fraction(self.random()), {custody}};
  auto keys = SigningKeys::open(std::move(parts), std::move(options));
  if (!keys) return fail(keys.error().within("state_dir " + settings.state_dir));
  self.keys = std::move(*keys);

  // On this thread, before the loop has its own.
  if (auto loaded = self.loop->run_task(self.keys->load(deadline)); !loaded) {
    return fail(loaded.error().within("could not load the keys"));
  }
  for (const SigningKeyPtr& key : self.keys->all()) {
    if (key->public_key == nullptr || key->disabled) {
      log.error("a key cannot be used",
                {{"key_id", key->id}, {"key", key->key}, {"reason", key->problem}});
    }
  }
  self.calls.emplace(*self.loop);
  self.loop->spawn(self.keys->run());
  self.loop->spawn(self.reap());
  auto thread = try_start_thread("keyfs-spire-io", [loop = self.loop] { loop->run(); });
  if (!thread) return fail(thread.error());
  self.thread = std::move(*thread);
  return std::shared_ptr<KeySet>(new KeySet(std::move(impl)));
}

void KeySet::serve(RpcCallPtr call, KeyMethod method, std::string request) {
  impl_->loop->post(
      [impl = impl_.get(), call = std::move(call), method, request = std::move(request)]() mutable {
        const size_t number = impl->calls->start(impl->work(call, method, std::move(request)));
        // After a task that ran to its end the number means nothing, and cancelling it does nothing.
        call->on_cancel([door = impl->door, number] {
          std::lock_guard lock(door->mutex);
          if (door->impl == nullptr) return;
          door->impl->loop->post([impl = door->impl, number] { impl->calls->cancel(number); });
        });
      });
}

}  // namespace keyfs
