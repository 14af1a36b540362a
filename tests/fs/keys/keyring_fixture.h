// Daemons without a file system: keyrings on one loop with fake time, sharing a store and a set of
// masters, each with its own faults.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "fs/keys/key_cache.h"
#include "fs/keys/key_check.h"
#include "fs/keys/keyring.h"
#include "fs/keys/lagging_store.h"
#include "fs/keys/replica.h"
#include "support/fake_time.h"
#include "support/faulty_region.h"
#include "support/faulty_store.h"
#include "support/log_capture.h"
#include "support/memory_region.h"
#include "support/memory_store.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

struct Seen final : KeyringObserver {
  void on_opened(KeySource, bool made, Duration) override { created += made; }
  void on_failed(const Error&) override { ++failed; }
  void on_refreshed(bool ok) override { ++(ok ? refreshed : refresh_failed); }
  void on_lost_race() override { ++lost_races; }
  void on_degraded(const std::string& id, bool) override { degraded.push_back(id); }
  void on_ended(const KeyEntry& entry, uint32_t version) override {
    ended.push_back(std::string(entry.id()) + (version != 0 ? "/" + std::to_string(version) : ""));
  }
  void on_current_changed(const KeyEntry& entry, uint32_t from, uint32_t to) override {
    changed.push_back(std::string(entry.id()) + " " + std::to_string(from) + "-" +
                      std::to_string(to));
  }
  void on_created(const std::string&) override { ++made; }
  int created = 0, failed = 0, refreshed = 0, refresh_failed = 0, lost_races = 0, made = 0;
  std::vector<std::string> degraded, ended, changed;
};

// A host that has seen nothing and remembers nothing.
struct NoMemory final : HostMemory {
  Task<Recall> recall(std::string) override {
    Recall never;
    never.what = Recall::What::kNever;
    co_return never;
  }
  void note(const Stored&, bool) override {}
  void note_seen(const std::string&, Sighting) override {}
  Task<Result<void>> kept(std::string) override { co_return Result<void>(); }
  void doubt(const std::string&) override {}
  void on_live(bool) override {}
  void on_gap() override {}
  std::string trouble() const override { return ""; }
  std::string forget() const override { return "forget it"; }
};

// A host whose memory answers what the test wants, when it wants.
struct ScriptedMemory final : HostMemory {
  explicit ScriptedMemory(Loop& on) : loop(on) {}
  Task<Recall> recall(std::string id) override {
    ++asked;
    if (hangs) {
      OneShot<bool> never(loop);
      co_await never;
    }
    if (delay > Duration::zero()) co_await loop.sleep_for(delay);
    if (answer.stored && answer.stored->record.id != id) {
      Recall never;
      never.what = Recall::What::kNever;
      co_return never;
    }
    co_return answer;
  }
  void note(const Stored& stored, bool strong) override { noted.emplace_back(stored, strong); }
  void note_seen(const std::string& id, Sighting what) override {
    seen.push_back(id);
    sightings.push_back(what);
  }
  Task<Result<void>> kept(std::string) override {
    if (keeping > Duration::zero()) co_await loop.sleep_for(keeping);
    if (keeps) co_return Result<void>();
    co_return fail(Code::kUnavailable, "the disk is full");
  }
  bool keeps = true;
  Duration keeping{};
  void doubt(const std::string&) override {}
  void on_live(bool) override {}
  void on_gap() override {}
  std::string trouble() const override { return ""; }
  std::string forget() const override { return "forget it"; }

  void says(Recall::What what) {
    answer = Recall();
    answer.what = what;
  }
  void knows(Record record, Duration age = Duration::zero()) {
    answer = Recall();
    answer.what = Recall::What::kKnown;
    answer.stored = Stored{std::move(record), "1"};
    answer.age = age;
  }

  Loop& loop;
  Recall answer;
  std::vector<std::string> seen;
  std::vector<Sighting> sightings;
  Duration delay{};
  bool hangs = false;
  int asked = 0;
  std::vector<std::pair<Stored, bool>> noted;
};

// What all daemons share.
struct World {
  World() {
    for (int i = 0; i < 3; ++i) masters.push_back(MemoryMaster::random_key(arena, random));
    previous.resize(3);
  }
  FakeTimeLoop time;
  SecretArena arena;
  OsRandom random;
  LogCapture log{time.clock};
  std::shared_ptr<MemoryRecords> records = std::make_shared<MemoryRecords>();
  std::vector<std::shared_ptr<const MasterKey>> masters;
  std::vector<std::shared_ptr<const MasterKey>> previous;  // null: none
};

struct Daemon {
  explicit Daemon(World& shared, HostMemory* memory = nullptr, CacheOptions cache_options = {},
                  KeyringOptions options = {}, size_t create_min_regions = 2)
      : world(shared),
        behind(new LaggingStore(world.time.loop, world.records)),
        store(world.time.loop, std::unique_ptr<Store>(behind)),
        cache(cache_options) {
    std::vector<std::unique_ptr<Region>> all;
    const char* names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; ++i) {
      auto faulty = std::make_unique<FaultyRegion>(
          world.time.loop, memory_region(world.time.loop, arena, world.random, names[i],
                                         world.masters[i], world.previous[i]));
      region.push_back(faulty.get());
      all.push_back(std::move(faulty));
    }
    RegionsOptions regions_options;
    regions_options.create_min_regions = create_min_regions;
    regions_options.health.explore_after = Duration::zero();
    regions = std::move(*Regions::make(
        world.time.loop, std::move(all), [] { return 0.5; }, regions_options));
    options.creator = "here";
    keyring = std::make_unique<Keyring>(
        KeyringParts{world.time.loop, store, *regions, cache, arena, world.log.log(),
                     memory != nullptr ? *memory : no_memory, &seen},
        options);
  }

  // Background checks refer to the keyring: they end first.
  ~Daemon() {
    store.heal();
    regions_heal();  // nothing goes on trying
    const auto sleep = [](Loop& loop) -> Task<bool> {
      co_await loop.sleep_for(1min);
      co_return true;
    };
    world.time.loop.run_task(sleep(world.time.loop));
  }

  Task<Result<std::optional<Opened>>> opening(const std::string& id, bool create,
                                              Duration time_left = 10s, uint32_t version = 0) {
    OpenRequest request(cache.acquire(id), create, world.time.loop.now() + time_left, version);
    return keyring->open(std::move(request));
  }
  Result<std::optional<Opened>> open(const std::string& id, bool create, Duration time_left = 10s) {
    return world.time.loop.run_task(opening(id, create, time_left));
  }
  // As a descriptor of that version is read, and a file of it opened.
  std::string read_version(const std::string& id, uint32_t version) {
    return told(world.time.loop.run_task(opening(id, false, 10s, version)));
  }
  // The bytes, or what went wrong.
  std::string read(const std::string& id, bool create = true) { return told(open(id, create)); }
  static std::string told(const Result<std::optional<Opened>>& opened) {
    if (!opened) return std::string(to_string(opened.error().code));
    if (!*opened) return "absent";
    return std::string((*opened)->key->key.reveal_text());
  }
  int unwraps() const {
    int sum = 0;
    for (const FaultyRegion* one : region) sum += one->calls.unwrap;
    return sum;
  }
  int region_calls() const {
    int sum = 0;
    for (const FaultyRegion* one : region) sum += one->calls.all();
    return sum;
  }
  void forget() {
    for (FaultyRegion* one : region) one->calls = FaultyRegion::Calls{};
    store.calls = FaultyStore::Calls{};
  }
  void regions_fail(Code code) {
    for (FaultyRegion* one : region) one->fail_with(code);
  }
  void regions_heal() {
    for (FaultyRegion* one : region) one->heal();
  }

  World& world;
  SecretArena arena;
  LaggingStore* const behind;  // what `store` wraps
  FaultyStore store;
  KeyCache cache;
  std::vector<FaultyRegion*> region;
  std::unique_ptr<Regions> regions;
  Seen seen;
  NoMemory no_memory;
  std::unique_ptr<Keyring> keyring;
};

struct KeyringTest : ::testing::Test {
  ~KeyringTest() override { world.time.loop.shutdown(); }

  // Lets background work run for this long.
  void wait(Duration duration) {
    const auto sleep = [&]() -> Task<bool> {
      co_await world.time.loop.sleep_for(duration);
      co_return true;
    };
    world.time.loop.run_task(sleep());
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) world.time.loop.turn(false);
  }
  Record stored(const std::string& id) { return *parse_record(world.records->find(id)->json, id); }
  void rewrite(const Record& record) { world.records->write_raw(record.id, *to_json(record)); }
  void set_state(const std::string& id, KeyState state) {
    Record record = stored(id);
    record.state = state;
    ++record.serial;
    rewrite(record);
  }
  // As an operator changes a record.
  void change(const std::string& id, const std::function<void(Record&)>& how) {
    Record record = stored(id);
    how(record);
    ++record.serial;
    rewrite(record);
  }
  // A new version, made current at once; its bytes.
  std::string rotate(Daemon& by, const std::string& id) {
    Record record = stored(id);
    const uint32_t number = record.versions.rbegin()->first + 1;
    const auto making = [&]() -> Task<Result<CreatedKey>> {
      EncryptionContext context = key_context(id, number, record.origin);
      co_return co_await by.regions->create(32, context, now() + 10s);
    };
    auto made = world.time.loop.run_task(making());
    EXPECT_TRUE(made) << made.error().message;
    Version version = record.versions.at(1);
    version.wrapped.clear();
    version.check = *check_of(made->key, id, number);
    version.token = "t" + std::to_string(number);
    version.promoted = version.created;
    for (const auto& [region, wrapped] : made->wrapped) {
      version.wrapped[region] = {wrapped.master, wrapped.blob, version.created, ""};
    }
    record.versions[number] = version;
    record.last = number;
    record.current = number;
    ++record.serial;
    rewrite(record);
    return std::string(made->key.reveal_text());
  }
  void retire(const std::string& id, uint32_t min) {
    change(id, [&](Record& record) { record.min = min; });
  }
  void promote(const std::string& id, uint32_t version) {
    change(id, [&](Record& record) { record.current = version; });
  }
  void destroy(const std::string& id, uint32_t number) {
    change(id, [&](Record& record) {
      Version& version = record.versions.at(number);
      version.destroyed = version.created;
      version.wrapped.clear();
    });
  }
  void announce(Daemon& to, const std::string& id) {
    to.keyring->on_change(id,
                          Stored{stored(id), std::to_string(world.records->find(id)->revision)});
  }
  TimePoint now() { return world.time.loop.now(); }

  World world;
};

// With this host's replica on the disk, which is opened, closed and opened again.
struct ReplicatedTest : KeyringTest {
  ~ReplicatedTest() override {
    world.time.poller.busy = nullptr;
    world.time.loop.shutdown();
  }
  std::unique_ptr<Replica> open_replica() {
    auto opened = Replica::open(world.time.loop, world.log.log(), dir.file("replica.db"));
    EXPECT_TRUE(opened) << opened.error().message;
    auto* replica = opened->get();
    world.time.poller.busy = [replica] { return replica->under_way() > 0; };
    return std::move(*opened);
  }
  void flush(Replica& replica) {
    const auto flushed = [&]() -> Task<bool> {
      co_await replica.flush();
      co_return true;
    };
    world.time.loop.run_task(flushed());
  }

  static constexpr CacheOptions kShort = {.fresh_for = 1min, .serve_stale_for = 10min};
  const TemporaryDirectory dir;
};

}  // namespace keyfs::testing
