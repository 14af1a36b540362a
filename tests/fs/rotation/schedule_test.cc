#include "fs/rotation/schedule.h"

#include "fs/rotation/fleet.h"
#include "support/sanitized.h"

namespace keyfs::testing {
namespace {

class Scheduled : public ::testing::Test {
 protected:
  ScheduleOptions options(Duration period) {
    ScheduleOptions made;
    made.period = [period](const std::string& id) {
      return id.starts_with("k") ? period : Duration::zero();
    };
    made.shortest = period;
    made.by = "web";
    return made;
  }
  static Record record(const std::string& id, uint32_t version, WallTime since) {
    Record made;
    made.id = id;
    made.current = version;
    made.versions[version].created = "2020-01-01T00:00:00Z";
    made.versions[version].promoted = to_rfc3339(since);
    return made;
  }
  static ListPage::Entry entry(const std::string& id, uint32_t version) {
    ListPage::Entry made;
    made.id = id;
    made.current = version;
    return made;
  }
  Fleet fleet;
  SimHost& web = fleet.add("web");
};

TEST_F(Scheduled, keys_are_due_in_the_last_tenth_of_the_period_and_spread_over_it) {
  const WallTime since = web.clock.wall();
  const Duration period = std::chrono::hours(24) * 90;
  int early = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto due = due_at("k" + std::to_string(i), 3, since, period) - since;
    EXPECT_GE(due, std::chrono::hours(24) * 81);
    EXPECT_LE(due, std::chrono::hours(24) * 90);
    if (due < std::chrono::hours(24) * 85 + 12h) ++early;
  }
  EXPECT_NEAR(early, 500, 60);
  EXPECT_EQ(due_at("k1", 3, since, period), due_at("k1", 3, since, period));
  EXPECT_NE(due_at("k1", 3, since, period), due_at("k1", 4, since, period));
}

TEST_F(Scheduled, signing_keys_are_not_rotated_by_themselves_whatever_the_glob) {
  ScheduleOptions every = options(24h);
  every.period = [](const std::string&) -> Duration { return 24h; };
  Schedule schedule(web.loop, web.board, web.random, every);
  EXPECT_TRUE(schedule.wants(entry("k1", 1)));
  EXPECT_FALSE(schedule.wants(entry(".sign.ca", 1)));
}

TEST_F(Scheduled, what_is_due_gets_one_ticket_whichever_hosts_ask) {
  SimHost& other = fleet.add("other", 1h);
  Schedule here(web.loop, web.board, web.random, options(24h));
  Schedule there(other.loop, other.board, other.random, options(24h));
  for (Schedule* schedule : {&here, &there}) {
    for (const char* id : {"k1", "k2", "other"}) {
      const bool wanted = schedule->wants(entry(id, 1));
      EXPECT_EQ(wanted, id[0] == 'k');
      if (!wanted) continue;
      EXPECT_FALSE(schedule->takes(record(id, 1, web.clock.wall() - 20h)));
      EXPECT_FALSE(schedule->wants(entry(id, 1)));  // known now
    }
  }
  EXPECT_EQ(*fleet.ask(here.put_due(100)), 0u);
  fleet.pass(4h);
  EXPECT_EQ(*fleet.ask(here.put_due(100)), 2u);
  EXPECT_EQ(*fleet.ask(there.put_due(100)), 2u);
  EXPECT_EQ(*fleet.ask(here.put_due(100)), 0u);
  const auto tickets = fleet.ask(list_tickets(web.board, web.loop.now() + 10s));
  EXPECT_EQ(tickets->tickets.size(), 2u);
  EXPECT_TRUE(here.wants(entry("k1", 2)));  // the next version has a time of its own
}

TEST_F(Scheduled, keys_that_end_are_not_rotated) {
  Schedule schedule(web.loop, web.board, web.random, options(1h));
  EXPECT_TRUE(schedule.wants(entry("k1", 1)));
  schedule.takes(record("k1", 1, web.clock.wall() - 10h));
  ListPage::Entry disabled = entry("k1", 1);
  disabled.state = KeyState::kDisabled;
  EXPECT_FALSE(schedule.wants(disabled));
  EXPECT_EQ(schedule.size(), 0u);
  EXPECT_EQ(*fleet.ask(schedule.put_due(100)), 0u);
}

TEST_F(Scheduled, a_hundred_keys_are_each_rotated_once_in_a_period) {
  FleetOptions fleet_options;
  fleet_options.rotation.runner.settle = 1s;
  Fleet own(fleet_options);
  SimHost& host = own.add("host");
  Schedule schedule(host.loop, host.board, host.random, [&] {
    ScheduleOptions made = options(10min);
    made.ahead = 30s;
    return made;
  }());
  host.start();
  own.pass(10s);
  constexpr int kMany = kSanitized ? 25 : 100;
  for (int i = 0; i < kMany; ++i) {
    own.shared.keys["k" + std::to_string(i)].changed = own.shared.clock.now();
  }
  const TimePoint zero = own.shared.clock.now();
  std::map<std::string, std::vector<TimePoint>> changes;
  while (own.shared.clock.now() < zero + 50min) {
    for (auto& [id, key] : own.shared.keys) {
      if (schedule.wants(entry(id, key.current))) {
        const auto ago = std::chrono::duration_cast<std::chrono::milliseconds>(
            own.shared.clock.now() - key.changed);
        schedule.takes(record(id, key.current, host.clock.wall() - ago));
        changes[id].push_back(key.changed);
      }
    }
    ASSERT_TRUE(own.ask(schedule.put_due(100)));
    own.pass(5s);
  }
  EXPECT_EQ(changes.size(), size_t{kMany});
  for (const auto& [id, times] : changes) {
    EXPECT_GE(times.size(), 5u) << id;
    for (size_t i = 1; i < times.size(); ++i) {
      EXPECT_GE(times[i] - times[i - 1], 8min) << id;
      EXPECT_LE(times[i] - times[i - 1], 11min) << id;
    }
  }
}

}  // namespace
}  // namespace keyfs::testing
