// Hosts that keep the times of keys, over records that their rotations change.
#include <algorithm>

#include "fs/rotation/fleet.h"
#include "fs/rotation/fleet_records.h"
#include "fs/rotation/schedule.h"
#include "support/sanitized.h"

namespace keyfs::testing {
namespace {

constexpr Duration kPeriod = 4h;
constexpr int kKeys = kSanitized ? 10 : 20;

class Always final : public Tenure {
 public:
  uint64_t epoch() const override { return 1; }
  bool may_act() const override { return true; }
};

// Counts what is asked of it.
class CountedStore final : public Store {
 public:
  CountedStore(Loop& loop, FleetRecords& records) : real_(loop, records.records) {}

  int gets = 0;
  int lists = 0;
  std::optional<Error> error;

  Task<Result<std::string>> identity(TimePoint deadline) override {
    return real_.identity(deadline);
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override {
    ++gets;
    if (error) co_return fail(*error);
    co_return co_await real_.get(std::move(id), read, deadline);
  }
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override {
    return real_.put_if_absent(std::move(record), deadline);
  }
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override {
    return real_.replace(std::move(record), std::move(revision), deadline);
  }
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    ++lists;
    co_return co_await real_.list(std::move(after), limit, deadline);
  }
  Task<StoreCheck> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  MemoryStore real_;
};

class Schedules : public ::testing::Test {
 protected:
  struct Keeper {
    Keeper(SimHost& its, FleetRecords& records, ScheduleOptions options, bool always)
        : host(its),
          of_the_lock(its),
          store(its.loop, records),
          schedule(its.loop, its.board, its.random, std::move(options)),
          work(its.loop, store, its.log.log(),
               always ? static_cast<const Tenure&>(everybodys) : of_the_lock, schedule) {}
    SimHost& host;
    Always everybodys;
    HostTenure of_the_lock;
    CountedStore store;
    Schedule schedule;
    ScheduleWork work;
  };
  struct Change {
    TimePoint at;
    uint32_t version;
  };

  Schedules() {
    // Hours pass, and who holds the lock is not what is looked at: it is renewed more seldom.
    LockOptions& lock = fleet_options.rotation.lock;
    lock.beat_every = 30s;
    lock.act_for = 2min;
    lock.take_over_after = 3min;
    lock.alert_every = 20s;
    records.keep_versions = 1;
  }
  void prepare(int keys, Duration every) {
    if (kSanitized) keys = std::min(keys, 25);
    options.period = [every](const std::string& id) {
      return id.starts_with("k") ? every : Duration::zero();
    };
    options.shortest = every;
    fleet = std::make_unique<Fleet>(fleet_options);
    for (int i = 0; i < keys; ++i) fleet->shared.keys["k" + std::to_string(i)].current = 1;
    fleet->shared.keys["by-hand"].current = 1;
    fleet->each_turn = [this] { look(); };
    look();
  }
  SimHost& add(const std::string& name, Duration apart = 0s) {
    SimHost& host = fleet->add(name, apart);
    keepers.push_back(std::make_unique<Keeper>(host, records, options, false));
    ScheduleWork& work = keepers.back()->work;
    host.also = [&work] { return work.work(); };
    return host;
  }
  void look() {
    for (const std::string& id : records.follow(fleet->shared)) {
      changes[id].push_back({fleet->shared.clock.now(), fleet->shared.keys.at(id).current});
    }
  }
  // Each version was made by one rotation, so long after the one before.
  void expect_each_once_in(Duration least, Duration most) const {
    for (const auto& [id, seen] : changes) {
      if (id == "by-hand") continue;
      for (size_t i = 1; i < seen.size(); ++i) {
        EXPECT_EQ(seen[i].version, seen[i - 1].version + 1) << id;
        EXPECT_GE(seen[i].at - seen[i - 1].at, least) << id << " " << seen[i].version;
        EXPECT_LE(seen[i].at - seen[i - 1].at, most) << id << " " << seen[i].version;
      }
    }
  }
  static Duration share(Duration of, double part) {
    return std::chrono::duration_cast<Duration>(of * part);
  }

  FleetOptions fleet_options;
  ScheduleOptions options;
  FleetRecords records;
  std::map<std::string, std::vector<Change>> changes;
  std::vector<std::unique_ptr<Keeper>> keepers;
  std::unique_ptr<Fleet> fleet;  // its loops end first
};

TEST_F(Schedules, each_key_is_rotated_once_in_its_period_and_others_are_not) {
  prepare(kKeys, kPeriod);
  add("web").start();
  fleet->pass(5 * kPeriod + 10min);
  expect_each_once_in(share(kPeriod, 0.9), share(kPeriod, 1.1));
  for (int i = 0; i < kKeys; ++i) {
    const auto& seen = changes["k" + std::to_string(i)];
    EXPECT_GE(seen.size(), 6u) << i;  // with the first
    EXPECT_LE(seen.size(), 7u) << i;
    EXPECT_EQ(fleet->shared.keys["k" + std::to_string(i)].rotations, int(seen.size()) - 1) << i;
  }
  EXPECT_EQ(fleet->shared.keys["by-hand"].rotations, 0);
}

TEST_F(Schedules, only_records_of_a_new_version_are_read) {
  prepare(kKeys, kPeriod);
  add("web").start();
  fleet->pass(100min);
  const Keeper& keeper = *keepers[0];
  EXPECT_EQ(keeper.schedule.size(), size_t{kKeys});
  const int gets = keeper.store.gets - keeper.store.lists;  // each pass asks once which store it is
  EXPECT_EQ(gets, kKeys);
  EXPECT_LE(keeper.store.lists, 100 / 12 + 2);  // a twentieth of the period
}

TEST_F(Schedules, whoever_asks_and_however_many_there_is_one_ticket_for_a_version) {
  prepare(kSanitized ? 10 : 30, kPeriod);
  fleet->add("runner").start();
  for (const char* name : {"one", "two", "three"}) {
    SimHost& host = fleet->add(name);
    keepers.push_back(std::make_unique<Keeper>(host, records, options, true));
  }
  for (auto& keeper : keepers) {
    keeper->host.loop.spawn(
        [](ScheduleWork& work) -> Task<void> { (void)co_await work.work(); }(keeper->work));
  }
  fleet->pass(1min);
  EXPECT_EQ(keepers[0]->schedule.next(), keepers[1]->schedule.next());
  EXPECT_EQ(keepers[0]->schedule.next(), keepers[2]->schedule.next());
  fleet->pass(3 * kPeriod);
  expect_each_once_in(share(kPeriod, 0.9), share(kPeriod, 1.1));
  for (const auto& [id, key] : fleet->shared.keys) {
    EXPECT_EQ(key.rotations, static_cast<int>(key.tokens.size())) << id;
    EXPECT_GE(key.rotations, id == "by-hand" ? 0 : 3) << id;
  }
}

TEST_F(Schedules, a_host_that_takes_over_goes_on_with_the_same_times) {
  prepare(kKeys, kPeriod);
  for (const char* name : {"one", "two", "three"}) add(name).start();
  for (int day = 0; day < 3; ++day) {
    fleet->pass(share(kPeriod, 0.945));  // in the last tenth: some tickets were put, some were not
    SimHost* holder = fleet->holder();
    ASSERT_NE(holder, nullptr);
    if (day < 2) {
      holder->kill();
      holder->frozen = true;
    }
    fleet->pass(20min);
  }
  EXPECT_NE(fleet->holder(), nullptr);
  expect_each_once_in(share(kPeriod, 0.9), share(kPeriod, 1.1));
  for (const auto& [id, key] : fleet->shared.keys) {
    EXPECT_GE(key.rotations, id == "by-hand" ? 0 : 2) << id;
  }
}

// The clocks of hosts are an hour apart, so that what one sees as due another does in an hour.
TEST_F(Schedules, with_clocks_an_hour_apart_a_takeover_asks_for_nothing_twice) {
  prepare(kKeys, 10 * kPeriod);
  add("behind").start();
  fleet->pass(10s);
  ASSERT_NE(fleet->holder(), nullptr);
  add("ahead", 1h).start();
  fleet->pass(share(10 * kPeriod, 0.95));
  SimHost* behind = fleet->holder();
  ASSERT_NE(behind, nullptr);
  ASSERT_EQ(behind->name, "behind");
  int before = 0;
  for (const auto& [id, key] : fleet->shared.keys) before += key.rotations;
  EXPECT_GT(before, 0);
  EXPECT_LT(before, kKeys);
  behind->kill();
  behind->frozen = true;
  fleet->pass(kPeriod);
  for (const auto& [id, key] : fleet->shared.keys) {
    EXPECT_EQ(key.rotations, id == "by-hand" ? 0 : 1) << id;
  }
  expect_each_once_in(share(10 * kPeriod, 0.9) - 1h, share(10 * kPeriod, 1.1));
}

TEST_F(Schedules, a_policy_without_rotate_every_reads_nothing) {
  prepare(5, Duration::zero());
  SimHost& web = add("web");
  web.start();
  fleet->pass(10min);
  EXPECT_EQ(keepers[0]->store.lists, 0);
  EXPECT_EQ(keepers[0]->store.gets, 0);
  EXPECT_TRUE(fleet->ask(keepers[0]->work.work()));
}

TEST_F(Schedules, a_key_that_comes_later_is_kept_in_time_and_one_that_is_disabled_is_left_alone) {
  prepare(1, kPeriod);
  add("web").start();
  fleet->pass(2h);
  fleet->shared.keys["k-late"].current = 1;
  Record disabled = records.get("k0");
  disabled.state = KeyState::kDisabled;
  records.put(disabled);
  fleet->pass(kPeriod + 5min);
  EXPECT_EQ(fleet->shared.keys["k0"].rotations, 0);
  EXPECT_EQ(fleet->shared.keys["k-late"].rotations, 1);
}

TEST_F(Schedules, a_store_that_is_out_for_a_while_delays_it_and_leaves_nothing_out) {
  prepare(10, kPeriod);
  add("web").start();
  fleet->pass(30s);
  keepers[0]->store.error = Error(Code::kUnavailable, "no answer");
  fleet->pass(5h);
  for (int i = 0; i < 10; ++i) {  // what was known before is due all the same
    EXPECT_EQ(fleet->shared.keys["k" + std::to_string(i)].rotations, 1) << i;
  }
  keepers[0]->store.error.reset();
  fleet->pass(4h);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(fleet->shared.keys["k" + std::to_string(i)].rotations, 2) << i;
  }
}

TEST_F(Schedules, a_hundred_keys_each_10_s_keep_their_period_and_the_pace_of_background_calls) {
  constexpr double kPerSecond = 200;
  fleet_options.rotation.runner.settle = 0s;
  fleet_options.rotation.runner.list_after = 0s;  // a daemon waits for a fiftieth of the period
  prepare(100, 10s);
  SimHost& web = add("web");
  web.calls_per_second = kPerSecond;
  web.start();
  fleet->pass(20s);  // they were made together: until they are spread
  std::map<std::string, int> before;
  for (const auto& [id, key] : fleet->shared.keys) before[id] = key.rotations;
  fleet->pass(100s);
  std::vector<TimePoint> all;
  for (const auto& [id, key] : fleet->shared.keys) {
    const int rotations = key.rotations - before[id];
    if (id == "by-hand") {
      EXPECT_EQ(rotations, 0);
      continue;
    }
    EXPECT_GE(rotations, 9) << id;  // 10 periods
    EXPECT_LE(rotations, 11) << id;
    const auto& seen = changes.at(id);
    for (size_t i = 1; i < seen.size(); ++i) all.push_back(seen[i].at);
  }
  // In each second no more than the pace permits, give or take the one that it begins with.
  std::sort(all.begin(), all.end());
  for (size_t first = 0, last = 0; last < all.size(); ++last) {
    while (all[last] - all[first] > 1s) ++first;
    EXPECT_LE((last - first) * SimHost::kCallsToRotate, static_cast<size_t>(kPerSecond));
  }
}

}  // namespace
}  // namespace keyfs::testing
