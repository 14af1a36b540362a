// Rotations that are killed, told wrong, or raced: one version for each that was asked for.
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "fs/upkeep/key_versions_fixture.h"
#include "support/sanitized.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::Dice;
using testing::Host;
using testing::KeyVersionsTest;
using namespace std::chrono_literals;

struct KeyVersionsRace : KeyVersionsTest {
  // Starts the rotation and drops it after `life`: whether it had ended.
  bool killed_after(Duration life, const std::string& id, const std::string& token, bool hold) {
    Host dying(world);
    TaskGroup<Result<Promotion>> group(world.time.loop);
    RotateRequest request{id, token, hold};
    group.start(dying.versions.rotate(std::move(request)));
    const auto ended = run(group.next(now() + life));
    return ended.has_value();
  }
  size_t made_by(const Record& record, const std::string& token) {
    return static_cast<size_t>(
        std::count_if(record.versions.begin(), record.versions.end(),
                      [&](const auto& version) { return version.second.token == token; }));
  }
  static void expect_each_its_own(const Record& record) {
    std::set<KeyCheck> checks;
    for (const auto& [number, version] : record.versions) checks.insert(*version.check);
    EXPECT_EQ(checks.size(), record.versions.size());
  }
};

TEST_F(KeyVersionsRace, a_rotation_that_was_killed_at_any_step_makes_one_version_in_all) {
  int kills = 0;
  for (const bool hold : {false, true}) {
    for (Duration life = 0ms;; life += 1ms) {
      const std::string id = (hold ? "held-" : "orders-") + std::to_string(kills);
      const std::string key = Daemon(world).read(id);
      if (killed_after(life, id, "t1", hold)) break;
      ++kills;
      const Record after = stored(id);
      EXPECT_TRUE(after.current == 1 || after.current == 2);
      EXPECT_EQ(after.current == 2, !after.versions.rbegin()->second.promoted.empty());
      EXPECT_EQ(Daemon(world).read(id, false) == key, after.current == 1);
      const auto again = rotate(host, "t1", false, id);
      ASSERT_TRUE(again) << again.error().message;
      EXPECT_EQ(again->current, 2u) << to_text(life);
      const Record record = stored(id);
      EXPECT_EQ(record.versions.size(), 2u) << to_text(life);
      EXPECT_EQ(record.serial, 2u);
      EXPECT_EQ(record.pending, 0u);
      EXPECT_EQ(record.last, 2u);
    }
  }
  EXPECT_GT(kills, 15) << "reads, makes, writes, tests and writes again";
}

TEST_F(KeyVersionsRace, a_write_whose_answer_is_lost_is_found_done) {
  for (const bool second : {false, true}) {
    const std::string id = second ? "second" : "first-write";
    Daemon(world).read(id);
    if (second) {
      ASSERT_TRUE(rotate(host, "t1", true, id));
    }
    host.daemon.store.fault.lose_reply.emplace(Code::kTimeout, "outcome unknown");
    const auto lost = rotate(host, "t1", false, id);
    ASSERT_FALSE(lost);
    EXPECT_NE(lost.error().message.find("outcome unknown"), std::string::npos);
    host.daemon.store.heal();
    const auto again = rotate(host, "t1", false, id);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->outcome, second ? Outcome::kAlready : Outcome::kPromoted);
    EXPECT_EQ(stored(id).versions.size(), 2u);
    EXPECT_EQ(stored(id).serial, 2u);
  }
}

TEST_F(KeyVersionsRace, one_token_on_two_hosts_at_once_is_one_version) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    const std::string id = "orders-" + std::to_string(seed);
    Daemon(world).read(id);
    Dice dice(seed);
    Host one(world, &dice), two(world, &dice);
    TaskGroup<Result<Promotion>> group(world.time.loop);
    for (Host* each : {&one, &two}) {
      RotateRequest request{id, "t1", false};
      group.start(each->versions.rotate(std::move(request)));
    }
    for (int i = 0; i < 2; ++i) {
      const auto told = run(group.next());
      ASSERT_TRUE(told->value) << seed << ": " << told->value.error().message;
      EXPECT_EQ(told->value->current, 2u) << seed;
    }
    EXPECT_EQ(stored(id).versions.size(), 2u) << seed;
    EXPECT_EQ(stored(id).serial, 2u) << seed;
  }
}

TEST_F(KeyVersionsRace, two_rotations_at_once_make_two_versions_and_the_higher_is_current) {
  std::map<Outcome, int> outcomes;
  for (unsigned seed = 0; seed < 100; ++seed) {
    const std::string id = "orders-" + std::to_string(seed);
    Daemon(world).read(id);
    Dice dice(seed);
    Host one(world, &dice), two(world, &dice);
    TaskGroup<Result<Promotion>> group(world.time.loop);
    for (Host* each : {&one, &two}) {
      RotateRequest request{id, each == &one ? "t1" : "t2", false};
      group.start(each->versions.rotate(std::move(request)));
    }
    for (int i = 0; i < 2; ++i) {
      const auto told = run(group.next());
      ASSERT_TRUE(told->value) << seed << ": " << told->value.error().message;
      ++outcomes[told->value->outcome];
    }
    const Record record = stored(id);
    EXPECT_EQ(record.versions.size(), 3u) << seed;
    EXPECT_EQ(record.current, 3u) << seed;
    EXPECT_EQ(record.pending, 0u) << seed;
    expect_each_its_own(record);
  }
  EXPECT_GT(outcomes[Outcome::kPromoted], 100);
  EXPECT_GT(outcomes[Outcome::kSuperseded], 0) << "the seeds cover both orders";
}

// Hosts rotate, rewrap, disable, enable, promote and retire one key, lose answers and are killed. The store
// checks every write (WatchedStore).
TEST_F(KeyVersionsRace, whatever_races_every_version_keeps_its_key_and_each_rotation_makes_one) {
  Dice dice(20260101);
  std::vector<std::unique_ptr<Host>> hosts;
  for (int i = 0; i < 3; ++i) {
    hosts.push_back(std::make_unique<Host>(world, &dice));
    hosts.back()->store.lost_one_in = 10;
  }
  constexpr int kRounds = testing::kSanitized ? 40 : 200;
  constexpr int kRoundsOfAKey = 10;
  int promoted = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string id = "orders-" + std::to_string(round / kRoundsOfAKey);
    if (round % kRoundsOfAKey == 0) Daemon(world).read(id);
    const uint64_t serial = stored(id).serial;
    std::map<uint32_t, KeyCheck> checks;
    for (const auto& [number, version] : stored(id).versions) checks[number] = *version.check;
    std::vector<std::string> tokens;
    {
      TaskGroup<bool> group(world.time.loop);
      const auto rotating = [](Host& with, RotateRequest request) -> Task<bool> {
        co_return (co_await with.versions.rotate(std::move(request))).has_value();
      };
      const auto setting = [](Host& with, std::string key, KeyState state,
                              TimePoint until) -> Task<bool> {
        co_return (co_await with.admin.set_state(std::move(key), state, until)).has_value();
      };
      const auto moving = [](Host& with, std::string key, uint32_t number,
                             bool retire) -> Task<bool> {
        if (retire) co_return (co_await with.versions.retire(std::move(key), number)).has_value();
        co_return (co_await with.versions.promote(std::move(key), number)).has_value();
      };
      if (round % 4 == 0) group.start(rewrapping(*hosts[dice.below(3)], id));
      for (auto& with : hosts) {
        tokens.push_back("t" + std::to_string(round) + "-" + std::to_string(tokens.size()));
        RotateRequest request{id, tokens.back(), false};
        group.start(rotating(*with, std::move(request)));
      }
      group.start(setting(*hosts[dice.below(3)], id, KeyState::kDisabled, now() + 10s));
      group.start(setting(*hosts[dice.below(3)], id, KeyState::kEnabled, now() + 10s));
      group.start(moving(*hosts[dice.below(3)], id, 1 + dice.below(10), true));
      group.start(moving(*hosts[dice.below(3)], id, 1 + dice.below(10), false));
      // Whoever is not done by then is killed.
      const TimePoint until = now() + (dice.one_in(3) ? 20ms + 1ms * dice.below(60) : 1min);
      while (run(group.next(until))) {
      }
    }
    // Everybody comes again, without faults.
    ASSERT_TRUE(run(host.admin.set_state(id, KeyState::kEnabled, now() + 10s)));
    for (const auto& token : tokens) {
      const auto told = rotate(host, token, false, id);
      ASSERT_TRUE(told) << told.error().message;
      ASSERT_FALSE(told->not_promoted) << told->not_promoted->message;
      promoted += told->outcome == Outcome::kPromoted;
    }
    const Record record = stored(id);
    for (const auto& token : tokens) EXPECT_EQ(made_by(record, token), 1u) << round;
    for (const auto& [number, check] : checks) {
      EXPECT_EQ(*record.versions.at(number).check, check) << round;
    }
    EXPECT_GT(record.serial, serial);
    EXPECT_GE(record.current, record.min);
    EXPECT_EQ(record.versions.size(), 1u + 3u * static_cast<unsigned>(round % kRoundsOfAKey + 1));
    expect_each_its_own(record);
  }
  EXPECT_GT(promoted, 0);
}

}  // namespace
}  // namespace keyfs
