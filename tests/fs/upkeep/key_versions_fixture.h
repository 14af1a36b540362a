// Hosts that change the versions of keys, on one loop with fake time, over one store whose every
// write is checked: the record goes forward, and keeps what was promised.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <utility>

#include "fs/keys/keyring_fixture.h"
#include "fs/keys/record_memory.h"
#include "fs/upkeep/key_admin.h"
#include "fs/upkeep/key_versions.h"
#include "fs/upkeep/rewrap.h"
#include "fs/upkeep/scripted_notebook.h"
#include "store/record_versions.h"

namespace keyfs::testing {

// Chance of the tests, always the same for a seed.
class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  unsigned below(unsigned most) { return static_cast<unsigned>(engine_() % most); }
  bool one_in(unsigned most) { return most != 0 && below(most) == 0; }

 private:
  std::mt19937 engine_;
};

// Every call takes a while, before and after it is carried out; some writes are carried out and
// told as a failure or as a conflict.
class WatchedStore final : public Store {
 public:
  WatchedStore(World& world, Store& real, Dice* dice) : world_(world), real_(real), dice_(dice) {}

  unsigned lost_one_in = 0;
  int writes = 0;

  Task<Result<std::string>> identity(TimePoint deadline) override {
    return real_.identity(deadline);
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override {
    co_await pass();
    auto got = co_await real_.get(std::move(id), read, deadline);
    co_await pass();
    co_return got;
  }
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override {
    return real_.put_if_absent(std::move(record), deadline);
  }
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override {
    co_await pass();
    const std::string id = record.id;
    const Record before = *parse_record(world_.records->find(id)->json, id);
    auto answer = co_await real_.replace(std::move(record), std::move(revision), deadline);
    if (answer && *answer) {
      ++writes;
      expect_forward(before, *parse_record(world_.records->find(id)->json, id));
    }
    co_await pass();
    if (dice_ != nullptr && answer && dice_->one_in(lost_one_in)) {
      if (dice_->one_in(2)) co_return std::optional<Stored>();
      co_return fail(Code::kTimeout, "outcome unknown");
    }
    co_return answer;
  }
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    return real_.list(std::move(after), limit, deadline);
  }
  Task<StoreCheck> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  Task<void> pass() {
    co_await world_.time.loop.sleep_for(std::chrono::milliseconds(dice_ ? dice_->below(9) : 1));
  }
  static void expect_forward(const Record& before, const Record& now) {
    const auto why = goes_back(before, now);
    EXPECT_FALSE(why) << *why;
    EXPECT_GE(now.serial, before.serial);
    const bool changed =
        now.state != before.state || now.current != before.current || now.min != before.min;
    EXPECT_EQ(now.serial, before.serial + (changed ? 1 : 0));
    EXPECT_GE(now.current, now.min);
    EXPECT_GE(last_version(now), last_version(before));
    if (now.state == KeyState::kDeleted) return;
    EXPECT_EQ(version_state(now, now.current), VersionState::kReadable);
    EXPECT_GE(now.versions.at(now.current).wrapped.size(), 2u);
  }

  World& world_;
  Store& real_;
  Dice* const dice_;
};

// A process on a host.
struct Host {
  explicit Host(World& world, Dice* dice = nullptr, HostMemory* memory = nullptr)
      : daemon(world),
        store(world, daemon.store, dice),
        versions(world.time.loop, store, *daemon.regions, memory ? *memory : daemon.no_memory,
                 notebook, "admin-host", 10s),
        admin(world.time.loop, store, *daemon.regions, memory ? *memory : daemon.no_memory,
              notebook, "admin-host") {
    for (FaultyRegion* region : daemon.region) region->fault.delay = 1ms;
  }

  Daemon daemon;
  WatchedStore store;
  ScriptedNotebook notebook;
  KeyVersions versions;
  KeyAdmin admin;
};

struct KeyVersionsTest : KeyringTest {
  template <class T>
  T run(Task<T> task) {
    return world.time.loop.run_task(std::move(task));
  }
  Result<Promotion> rotate(Host& with, const std::string& token, bool hold = false,
                           const std::string& id = "orders") {
    RotateRequest request{id, token, hold};
    return run(with.versions.rotate(std::move(request)));
  }
  Result<Promotion> rotate(const std::string& token, bool hold = false) {
    return rotate(host, token, hold);
  }
  // Every wrap anew: all of them are older than tomorrow.
  Task<bool> rewrapping(Host& with, std::string id) {
    RewrapOptions options;
    options.calls_per_second = 0;
    options.older_than = world.time.loop.clock().wall() + std::chrono::hours(24);
    Rewrap rewrap(world.time.loop, with.store, *with.daemon.regions, world.log.log(), options,
                  with.daemon.no_memory, with.notebook);
    std::vector<std::string> ids(1, std::move(id));
    std::string from_the_start;
    Rewrap::PageDone nobody;
    const TimePoint until = now() + std::chrono::seconds(10);
    const auto done =
        co_await rewrap.run(std::move(ids), std::move(from_the_start), std::move(nobody), until);
    co_return done.has_value();
  }
  // The record, and what it was before.
  Record orders() { return stored("orders"); }

  using Outcome = Promotion::Outcome;
  Host host{world};
  // What everybody has read from the beginning.
  const std::string first = Daemon(world).read("orders");
};

}  // namespace keyfs::testing
