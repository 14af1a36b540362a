// Rotating, rewrapping, healing, disabling and enabling at once, on one key: no version is lost, none becomes
// another key.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fs/upkeep/healer.h"
#include "fs/upkeep/key_versions_fixture.h"
#include "support/sanitized.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::Dice;
using testing::FaultyRegion;
using testing::Host;
using testing::KeyVersionsTest;
using namespace std::chrono_literals;

struct KeyVersionsHeal : KeyVersionsTest {
  static Task<bool> rotating(Host& with, RotateRequest request) {
    co_return (co_await with.versions.rotate(std::move(request))).has_value();
  }
  static Task<bool> setting(Host& with, std::string id, KeyState state, TimePoint until) {
    co_return (co_await with.admin.set_state(std::move(id), state, until)).has_value();
  }
  static Task<bool> healing(Healer& healer, std::string id, TimePoint until) {
    std::vector<std::string> ids(1, std::move(id));
    co_return (co_await healer.run_once(std::move(ids), until)).has_value();
  }
  static HealOptions thoroughly() {
    HealOptions options;
    options.calls_per_second = 0;
    options.verify = true;
    return options;
  }
};

// 1,000 rounds in all, since a record is read and written often in each: it must not grow too long.
// The store checks every write (WatchedStore): the serial, among others, only rises.
TEST_F(KeyVersionsHeal,
       rotating_rewrapping_healing_disabling_and_enabling_at_once_loses_no_version) {
  constexpr int kKeys = testing::kSanitized ? 2 : 20;
  constexpr int kRoundsOfAKey = 50;
  Dice dice(20261126);
  std::vector<std::unique_ptr<Host>> hosts;
  std::vector<std::unique_ptr<Healer>> healers;
  for (int i = 0; i < 3; ++i) {
    hosts.push_back(std::make_unique<Host>(world, &dice));
    Host& made = *hosts.back();
    made.store.lost_one_in = 10;
    healers.push_back(std::make_unique<Healer>(world.time.loop, made.store, *made.daemon.regions,
                                               world.log.log(), thoroughly()));
  }
  uint32_t rotations = 0;
  for (int k = 0; k < kKeys; ++k) {
    const std::string id = "orders-" + std::to_string(k);
    std::map<uint32_t, std::string> keys = {{1, Daemon(world).read(id)}};
    std::map<uint32_t, KeyCheck> checks = {{1, *stored(id).versions.at(1).check}};
    uint64_t serial = stored(id).serial;
    for (int round = 0; round < kRoundsOfAKey; ++round) {
      const bool rotates = dice.one_in(4);
      const std::string token = "t" + std::to_string(round);
      // A region is out for who rotates: the healers of the others fill in what it makes.
      FaultyRegion* const out =
          dice.one_in(2) ? hosts.front()->daemon.region[dice.below(3)] : nullptr;
      if (out != nullptr) out->fail_with(Code::kUnavailable);
      {
        TaskGroup<bool> group(world.time.loop);
        const TimePoint deadline = now() + 10s;
        if (rotates) {
          RotateRequest request{id, token, false};
          group.start(rotating(*hosts.front(), std::move(request)));
        }
        if (dice.one_in(3)) group.start(rewrapping(*hosts[dice.below(3)], id));
        for (auto& healer : healers) group.start(healing(*healer, id, deadline));
        group.start(setting(*hosts[dice.below(3)], id, KeyState::kDisabled, deadline));
        group.start(setting(*hosts[dice.below(3)], id, KeyState::kEnabled, deadline));
        // Whoever is not done by then is killed.
        const TimePoint until = now() + (dice.one_in(3) ? 20ms + 1ms * dice.below(60) : 1min);
        while (run(group.next(until))) {
        }
      }
      if (out != nullptr) out->answer_after(1ms);
      // Who rotates comes again, without faults.
      ASSERT_TRUE(run(host.admin.set_state(id, KeyState::kEnabled, now() + 10s)));
      if (rotates) {
        const auto told = rotate(host, token, false, id);
        ASSERT_TRUE(told) << told.error().message;
        ASSERT_FALSE(told->not_promoted) << told->not_promoted->message;
        ++rotations;
      }
      const Record record = stored(id);
      ASSERT_EQ(record.versions.size(), checks.size() + (rotates ? 1 : 0)) << id << " " << round;
      EXPECT_EQ(record.current, record.versions.rbegin()->first);
      EXPECT_GE(record.serial, serial);
      serial = record.serial;
      for (const auto& [number, version] : record.versions) {
        EXPECT_EQ(checks.emplace(number, *version.check).first->second, *version.check)
            << id << " " << round << " version " << number;
      }
      const uint32_t number = 1 + dice.below(record.current);
      const std::string key = Daemon(world).read_version(id, number);
      EXPECT_EQ(key.size(), 32u) << id << " " << round << " version " << number << ": " << key;
      EXPECT_EQ(keys.emplace(number, key).first->second, key);
    }
    // In the end each version can be read in every region.
    Healer last(world.time.loop, host.store, *host.daemon.regions, world.log.log(), thoroughly());
    const std::vector<std::string> ids = {id};
    const auto report = run(last.run_once(ids, now() + 1min));
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->complete());
    for (const auto& [number, version] : stored(id).versions) {
      EXPECT_EQ(version.wrapped.size(), 3u) << id << " version " << number;
    }
  }
  EXPECT_GT(rotations, 8u * kKeys);
}

}  // namespace
}  // namespace keyfs
