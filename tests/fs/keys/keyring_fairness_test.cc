// No user can harm another: each user's waiting places, turns and creations.
#include "fs/keys/keyring_fixture.h"

namespace keyfs::testing {
namespace {

constexpr uid_t kGreedy = 4001;
constexpr uid_t kOther = 4002;

struct KeyringFairness : KeyringTest {
  Task<Result<std::optional<Opened>>> opening(Daemon& daemon, const std::string& id, bool create,
                                              uid_t user, Duration time_left = 10s) {
    OpenRequest request(daemon.cache.acquire(id), create, now() + time_left);
    request.caller = user;
    return daemon.keyring->open(std::move(request));
  }
  std::string read(Daemon& daemon, const std::string& id, bool create, uid_t user) {
    return Daemon::told(world.time.loop.run_task(opening(daemon, id, create, user)));
  }
};

TEST_F(KeyringFairness, one_user_takes_at_most_half_of_the_waiting_places) {
  KeyringOptions options;
  options.waiting_opens = 100;
  Daemon one(world, nullptr, {}, options);
  one.store.hang();
  TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
  for (int i = 0; i < 200; ++i) {
    group.start(opening(one, "id" + std::to_string(i), false, kGreedy));
  }
  turns(20);
  EXPECT_EQ(one.keyring->waiting(), 50u);
  const auto refused = world.time.loop.run_task(opening(one, "more", false, kGreedy));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kThrottled);
  EXPECT_NE(refused.error().message.find("opens of this user"), std::string::npos);
  group.start(opening(one, "others", false, kOther));
  turns(20);
  EXPECT_EQ(one.keyring->waiting(), 51u);
}

TEST_F(KeyringFairness, who_only_looks_at_records_takes_places_and_turns_like_who_opens) {
  KeyringOptions options;
  options.waiting_opens = 100;
  options.fetches_at_once = 16;
  Daemon one(world, nullptr, {}, options);
  one.store.hang();
  TaskGroup<Result<std::optional<KeyInfo>>> group(world.time.loop);
  for (int i = 0; i < 200; ++i) {
    group.start(one.keyring->describe("id" + std::to_string(i), now() + 10s, kGreedy));
  }
  turns(20);
  EXPECT_EQ(one.keyring->waiting(), 50u);
  EXPECT_LE(one.store.calls.get, 8) << "the rest of the turns is for others";
  const auto refused =
      world.time.loop.run_task(one.keyring->describe("more", now() + 10s, kGreedy));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kThrottled);
  one.store.heal();
}

TEST_F(KeyringFairness, who_looks_at_a_record_does_not_wait_for_opens_whose_region_hangs) {
  for (const char* id : {"orders", "a", "b", "c", "d"}) Daemon(world).read(id);
  KeyringOptions options;
  options.fetches_at_once = 4;
  Daemon one(world, nullptr, {}, options);
  for (auto* region : one.region) region->hang();
  TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
  for (const char* id : {"a", "b", "c", "d"}) group.start(opening(one, id, false, kGreedy));
  turns(20);
  const TimePoint begin = now();
  EXPECT_TRUE(world.time.loop.run_task(one.keyring->describe("orders", now() + 10s, kGreedy)));
  EXPECT_LT(now() - begin, 1s);
}

TEST_F(KeyringFairness, a_cold_open_does_not_wait_behind_another_users_thousand_creations) {
  Daemon maker(world);
  const std::string key = maker.read("orders");
  KeyringOptions options;
  options.fetches_at_once = 16;
  options.creations_at_once = 4;
  options.creates_per_second = 1000;
  Daemon one(world, nullptr, {}, options);
  for (auto* region : one.region) region->answer_after(10ms);
  TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
  for (int i = 0; i < 1000; ++i) {
    group.start(opening(one, "new-" + std::to_string(i), true, kGreedy, 1min));
  }
  turns(50);
  for (int i = 0; i < 10; ++i) {
    const TimePoint begin = now();
    EXPECT_EQ(read(one, "orders", false, kOther), key);
    EXPECT_LE(now() - begin, 25ms);  // alone: 10 ms
    one.cache.drop(*one.cache.acquire("orders"));
  }
  EXPECT_GT(one.keyring->waiting(), 500u);  // the others are still at it
  int made = 0;
  const auto rest = [&]() -> Task<bool> {
    while (auto opened = co_await group.next()) made += opened->value && *opened->value;
    co_return true;
  };
  world.time.loop.run_task(rest());
  EXPECT_EQ(made, 1000);
}

TEST_F(KeyringFairness, fetches_that_hang_for_one_user_leave_turns_for_another) {
  Daemon maker(world);
  const std::string key = maker.read("orders");
  KeyringOptions options;
  options.fetches_at_once = 8;
  Daemon one(world, nullptr, {}, options);
  one.store.hang();
  TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
  for (int i = 0; i < 100; ++i) {
    group.start(opening(one, "id" + std::to_string(i), false, kGreedy));
  }
  turns(50);
  EXPECT_EQ(one.store.calls.get, 4);
  one.store.heal();  // hanging calls stay hanging
  EXPECT_EQ(read(one, "orders", false, kOther), key);
}

TEST_F(KeyringFairness, creations_beyond_the_rate_are_refused_and_reads_are_not) {
  Daemon maker(world);
  const std::string key = maker.read("orders");
  KeyringOptions options;
  options.creates_per_second = 5;
  Daemon one(world, nullptr, {}, options);
  TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
  for (int i = 0; i < 200; ++i) {
    group.start(opening(one, "new-" + std::to_string(i), true, kGreedy));
  }
  int made = 0;
  int refused = 0;
  const auto all = [&]() -> Task<bool> {
    while (auto opened = co_await group.next()) {
      made += opened->value.has_value();
      refused += !opened->value && opened->value.error().code == Code::kThrottled;
    }
    co_return true;
  };
  const TimePoint begin = now();
  world.time.loop.run_task(all());
  EXPECT_LE(now() - begin, 10s);
  EXPECT_EQ(made + refused, 200);
  EXPECT_GE(made, 50 + 9 * 5);  // ten times the rate at once
  EXPECT_LE(made, 50 + 11 * 5);
  EXPECT_EQ(read(one, "orders", true, kGreedy), key);
  EXPECT_EQ(read(one, "theirs", true, kOther).size(), 32u);
  // Sequential creations are slowed to the rate, not refused.
  const TimePoint then = now();
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(read(one, "slow-" + std::to_string(i), true, kGreedy).size(), 32u);
  }
  EXPECT_GE(now() - then, 4s);
}

TEST_F(KeyringFairness, whoever_joins_a_creation_that_may_not_go_on_pays_for_it) {
  KeyringOptions options;
  options.creates_per_second = 1;
  Daemon one(world, nullptr, {}, options);
  TaskGroup<Result<std::optional<Opened>>> others(world.time.loop);
  for (int i = 0; i < 30; ++i) {
    others.start(opening(one, "new-" + std::to_string(i), true, kGreedy));
  }
  turns(100);
  one.store.fault.late = 10ms;
  TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
  group.start(opening(one, "shared", true, kGreedy));
  group.start(opening(one, "shared", true, kOther));
  const auto both = [&]() -> Task<std::vector<std::string>> {
    std::vector<std::string> told;
    while (auto opened = co_await group.next()) told.push_back(Daemon::told(opened->value));
    co_return told;
  };
  const auto told = world.time.loop.run_task(both());
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].size(), 32u);
  EXPECT_EQ(told[0], told[1]);
}

}  // namespace
}  // namespace keyfs::testing
