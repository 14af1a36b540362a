// A host proves by its own cache that it serves a new version.
#include "fs/rotation/host_keys.h"

#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using namespace std::chrono_literals;

struct HostKeysTest : testing::ReplicatedTest {
  Result<bool> serves(Daemon& host, const std::string& id, uint32_t version) {
    CachedHostKeys keys(world.time.loop, host.store, host.cache, *host.keyring);
    KeyVersion wanted{id, version};
    return world.time.loop.run_task(keys.serves(std::move(wanted), now() + 10s));
  }
  // "yes", "no", or what went wrong.
  std::string told(Daemon& host, const std::string& id, uint32_t version) {
    const auto answer = serves(host, id, version);
    if (!answer) return std::string(to_string(answer.error().code));
    return *answer ? "yes" : "no";
  }
};

TEST_F(HostKeysTest, a_host_that_serves_it_says_so_and_asks_nobody) {
  Daemon one(world, nullptr, kShort);
  one.read("orders");
  one.forget();
  EXPECT_EQ(told(one, "orders", 1), "yes");
  EXPECT_EQ(one.store.calls.all(), 0);
  EXPECT_EQ(one.region_calls(), 0);
}

TEST_F(HostKeysTest, a_host_that_has_cached_the_old_version_serves_the_new_one_once_asked) {
  Daemon one(world, nullptr, kShort);
  const std::string first = one.read("orders");
  const std::string second = rotate(one, "orders");
  ASSERT_EQ(one.read("orders"), first) << "nobody has told this host";
  EXPECT_EQ(told(one, "orders", 2), "yes");
  one.forget();
  EXPECT_EQ(one.read("orders"), second);
  EXPECT_EQ(one.region_calls(), 0);
  EXPECT_EQ(one.read_version("orders", 1), first) << "it is readable by its number";
}

TEST_F(HostKeysTest, a_live_feed_that_is_behind_does_not_make_it_serve_the_old_one) {
  Daemon one(world, nullptr, kShort);
  one.keyring->on_live(true, now());
  one.read("orders");
  const std::string second = rotate(one, "orders");
  EXPECT_EQ(told(one, "orders", 2), "yes");
  EXPECT_EQ(one.read("orders"), second);
}

TEST_F(HostKeysTest,
       who_opens_a_key_that_was_not_cached_gets_the_new_version_from_an_old_copy_too) {
  Daemon one(world);
  const std::string first = one.read("orders");
  Daemon two(world, nullptr, kShort);
  two.behind->fall_behind(*world.records, "orders");
  const std::string second = rotate(one, "orders");
  EXPECT_EQ(told(two, "orders", 2), "yes");
  EXPECT_EQ(two.read("orders", false), second);
  EXPECT_NE(first, second);
}

TEST_F(HostKeysTest, while_the_store_is_out_it_is_not_proven_and_afterwards_it_is) {
  Daemon one(world, nullptr, kShort);
  const std::string first = one.read("orders");
  const std::string second = rotate(one, "orders");
  one.store.fail_with(Code::kUnavailable);
  EXPECT_EQ(told(one, "orders", 2), "unavailable");
  EXPECT_EQ(one.read("orders"), first);
  one.store.heal();
  EXPECT_EQ(told(one, "orders", 2), "yes");
  EXPECT_EQ(one.read("orders"), second);
}

TEST_F(HostKeysTest, while_no_region_unwraps_it_it_is_not_proven_and_the_old_one_is_served) {
  Daemon one(world, nullptr, kShort);
  const std::string first = one.read("orders");
  const std::string second = rotate(one, "orders");
  one.regions_fail(Code::kUnavailable);
  EXPECT_EQ(told(one, "orders", 2), "unavailable");
  EXPECT_EQ(one.read("orders"), first);
  one.regions_heal();
  std::string answer;
  for (int i = 0; i < 60 && answer != "yes"; ++i) {
    wait(500ms);
    answer = told(one, "orders", 2);
  }
  EXPECT_EQ(answer, "yes");
  EXPECT_EQ(one.read("orders"), second);
}

TEST_F(HostKeysTest, a_later_version_that_has_taken_its_place_is_as_good) {
  Daemon one(world, nullptr, kShort);
  one.read("orders");
  rotate(one, "orders");
  const std::string third = rotate(one, "orders");
  EXPECT_EQ(told(one, "orders", 2), "yes");
  one.forget();
  EXPECT_EQ(one.read("orders"), third);
  EXPECT_EQ(one.region_calls(), 0);
}

TEST_F(HostKeysTest, a_version_that_was_retired_since_is_replaced_by_the_current_one) {
  Daemon one(world, nullptr, kShort);
  one.read("orders");
  rotate(one, "orders");
  const std::string third = rotate(one, "orders");
  retire("orders", 3);
  EXPECT_EQ(told(one, "orders", 2), "yes");
  EXPECT_EQ(one.read("orders"), third);
}

TEST_F(HostKeysTest, an_older_version_that_was_promoted_is_served_before_it_is_proven) {
  Daemon one(world, nullptr, kShort);
  const std::string first = one.read("orders");
  const std::string second = rotate(one, "orders");
  ASSERT_EQ(told(one, "orders", 2), "yes");
  promote("orders", 1);
  ASSERT_EQ(one.read("orders"), second) << "nobody has told this host";
  EXPECT_EQ(told(one, "orders", 1), "no") << "a higher number is not a later one here";
  wait(500ms);
  EXPECT_EQ(told(one, "orders", 1), "yes");
  EXPECT_EQ(one.read("orders"), first);
}

TEST_F(HostKeysTest, who_asks_for_a_version_that_was_taken_back_hears_that_another_is_current) {
  Daemon one(world, nullptr, kShort);
  const std::string first = one.read("orders");
  rotate(one, "orders");
  promote("orders", 1);
  EXPECT_EQ(told(one, "orders", 2), "yes");
  EXPECT_EQ(one.read("orders"), first);
}

TEST_F(HostKeysTest, a_store_that_does_not_know_the_version_proves_nothing) {
  Daemon one(world, nullptr, kShort);
  one.read("orders");
  EXPECT_EQ(told(one, "orders", 2), "no");
}

TEST_F(HostKeysTest, a_key_that_is_disabled_or_deleted_is_not_served) {
  Daemon one(world, nullptr, kShort);
  for (const KeyState state : {KeyState::kDisabled, KeyState::kDeleted}) {
    const std::string id(to_string(state));
    one.read(id);
    rotate(one, id);
    set_state(id, state);
    const auto answer = serves(one, id, 2);
    ASSERT_FALSE(answer) << id;
    EXPECT_EQ(answer.error().code, Code::kRevoked) << answer.error().message;
  }
}

TEST_F(HostKeysTest, it_creates_no_key) {
  Daemon one(world);
  EXPECT_EQ(told(one, "nobody", 1), "corrupt");
  EXPECT_EQ(told(one, "../etc/passwd", 1), "invalid");
  EXPECT_EQ(one.store.calls.put, 0);
  EXPECT_FALSE(world.records->find("nobody"));
}

}  // namespace
}  // namespace keyfs
