// For the tests of the healer: a daemon with one, and keys that lack a region.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fs/keys/keyring_fixture.h"
#include "fs/upkeep/healer.h"

namespace keyfs::testing {

// A daemon whose healer runs in the background from start() on.
struct Nurse {
  explicit Nurse(World& shared, HealOptions options = {})
      : world(shared),
        daemon(shared),
        healer(shared.time.loop, daemon.store, *daemon.regions, shared.log.log(), options),
        running(shared.time.loop) {}

  void start() {
    const auto run = [](Healer& all) -> Task<bool> {
      co_await all.run();
      co_return true;
    };
    running.start(run(healer));
  }
  HealReport heal(std::vector<std::string> ids = {}) {
    return world.time.loop.run_task(healer.run_once(std::move(ids), TimePoint::max())).value();
  }

  World& world;
  Daemon daemon;
  Healer healer;
  TaskGroup<bool> running;
};

struct HealerTest : KeyringTest {
  // Creates a key that lacks region c, and returns it.
  std::string make_degraded(const std::string& id) {
    Daemon maker(world);
    maker.region[2]->fail_with(Code::kUnavailable);
    return maker.read(id);
  }
  // What a daemon with only this region reads.
  std::string read_from(size_t region, const std::string& id) {
    Daemon reader(world);
    for (size_t i = 0; i < 3; ++i) {
      if (i != region) reader.region[i]->fail_with(Code::kDenied);
    }
    return reader.read(id, false);
  }
  size_t wraps(const std::string& id) { return stored(id).versions.at(1).wrapped.size(); }
};
}  // namespace keyfs::testing
