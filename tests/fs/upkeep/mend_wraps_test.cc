// Wraps that are broken: found by having each region unwrap its own, and replaced if another region
// has the key.
#include "fs/upkeep/mend_wraps.h"

#include "fs/keys/keyring_fixture.h"
#include "fs/upkeep/healer.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using namespace std::chrono_literals;

struct MendWraps : KeyringTest {
  MendWraps() {
    options.verify = true;
    options.rewrap = true;
  }
  void damage(const std::string& id, const std::vector<std::string>& regions) {
    Record record = stored(id);
    for (auto& [number, version] : record.versions) {
      for (const auto& region : regions) version.wrapped.at(region).blob.back() ^= 1;
    }
    rewrite(record);
  }
  HealReport heal(Daemon& daemon, std::vector<std::string> ids = {}) {
    Healer healer(world.time.loop, daemon.store, *daemon.regions, world.log.log(), options);
    return world.time.loop.run_task(healer.run_once(std::move(ids), TimePoint::max())).value();
  }
  // What a daemon with only this region reads.
  std::string read_from(size_t region, const std::string& id) {
    Daemon reader(world);
    for (size_t i = 0; i < 3; ++i) {
      if (i != region) reader.region[i]->fail_with(Code::kDenied);
    }
    return reader.read(id, false);
  }

  HealOptions options;
};

TEST_F(MendWraps, two_broken_wraps_of_three_are_replaced_and_each_region_alone_gives_the_key) {
  const std::vector<std::vector<std::string>> named_or_all = {{"orders"}, {}};
  for (const auto& ids : named_or_all) {
    const std::string key = Daemon(world).read("orders");
    damage("orders", {"a", "b"});
    ASSERT_EQ(read_from(0, "orders"), "corrupt");
    Daemon daemon(world);
    const HealReport report = heal(daemon, ids);
    EXPECT_EQ(report.keys, 1u);
    EXPECT_EQ(report.mended, 1u);
    EXPECT_EQ(report.whole, 0u);
    EXPECT_TRUE(report.complete());
    for (size_t region = 0; region < 3; ++region) EXPECT_EQ(read_from(region, "orders"), key);
    EXPECT_EQ(heal(daemon, ids).whole, 1u);
  }
}

TEST_F(MendWraps, a_wrap_that_unwraps_to_another_key_is_replaced) {
  {
    Daemon maker(world);
    maker.read("orders");
  }
  // As if the region had once been given other bytes to wrap for the same id.
  Record record = stored("orders");
  {
    Daemon other(world);
    SecretBytes bytes = world.random.secret(world.arena, 32).value();
    WrappedMore wrong = world.time.loop.run_task(other.regions->wrap_missing(
        bytes, context_of(record, 1), std::vector<std::string>{"a"}, now() + 10s));
    record.versions.at(1).wrapped.at("a").blob = wrong.wrapped.at("a").blob;
    rewrite(record);
  }
  ASSERT_EQ(read_from(0, "orders"), "corrupt");
  Daemon daemon(world);
  EXPECT_EQ(heal(daemon).mended, 1u);
  EXPECT_EQ(read_from(0, "orders"), read_from(1, "orders"));
}

TEST_F(MendWraps, a_region_that_cannot_say_is_told_as_not_verified_and_its_wrap_stays) {
  for (const Code code : {Code::kUnavailable, Code::kThrottled, Code::kTimeout, Code::kDenied,
                          Code::kUnauthenticated, Code::kInvalid}) {
    const std::string id = "orders-" + std::string(to_string(code));
    Daemon(world).read(id);
    damage(id, {"a"});
    const Record before = stored(id);
    Daemon daemon(world);
    daemon.region[0]->fail_with(code, "not now");
    const HealReport report = heal(daemon, {id});
    ASSERT_EQ(report.unverified.size(), 1u) << id;
    EXPECT_EQ(report.unverified[0].regions[0].region, "a");
    EXPECT_NE(report.unverified[0].regions[0].error.message.find("not now"), std::string::npos);
    EXPECT_EQ(report.whole, 0u);
    EXPECT_FALSE(report.complete());
    EXPECT_EQ(stored(id), before);
    EXPECT_EQ(daemon.region[0]->calls.wrap, 0);
  }
}

TEST_F(MendWraps, a_region_that_hangs_costs_one_deadline_and_not_one_for_each_key) {
  for (int i = 0; i < 20; ++i) Daemon(world).read("key" + std::to_string(i));
  options.verify_calls_per_second = 1000;
  Daemon daemon(world);
  daemon.region[1]->hang();
  const TimePoint begun = now();
  EXPECT_EQ(heal(daemon).unverified.size(), 20u);
  EXPECT_LE(now() - begun, options.call_deadline + 1s);
}

TEST_F(MendWraps, with_no_right_wrap_left_nothing_is_changed_and_the_key_is_a_failure) {
  Daemon(world).read("orders");
  damage("orders", {"a", "b", "c"});
  const Record before = stored("orders");
  Daemon daemon(world);
  const HealReport report = heal(daemon);
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures[0].error.code, Code::kCorrupt);
  EXPECT_EQ(stored("orders"), before);
  EXPECT_EQ(daemon.region[0]->calls.wrap, 0);
}

TEST_F(MendWraps, a_region_whose_new_wraps_are_broken_too_keeps_the_wrap_it_has) {
  Daemon(world).read("orders");
  damage("orders", {"a"});
  const Record before = stored("orders");
  Daemon daemon(world);
  daemon.region[0]->fault.broken_blob = true;
  const HealReport report = heal(daemon);
  ASSERT_EQ(report.missing.size(), 1u);
  EXPECT_EQ(report.missing[0].regions[0].region, "a");
  EXPECT_NE(report.missing[0].regions[0].error.message.find("its wrap is broken"),
            std::string::npos);
  EXPECT_EQ(report.mended, 0u);
  EXPECT_EQ(stored("orders"), before);
}

TEST_F(MendWraps, a_wrap_of_a_master_that_was_replaced_is_not_called_broken) {
  options.rewrap = false;  // as in the daemon
  Daemon(world).read("orders");
  const Record before = stored("orders");
  world.masters[0] = testing::MemoryMaster::random_key(world.arena, world.random);
  Daemon daemon(world);
  const HealReport report = heal(daemon, {"orders"});
  EXPECT_EQ(report.mended, 0u);
  EXPECT_EQ(stored("orders"), before);
  EXPECT_EQ(daemon.region[0]->calls.wrap, 0);
}

TEST_F(MendWraps, every_version_is_verified) {
  const std::string key = Daemon(world).read("orders");
  Record record = stored("orders");
  record.versions[2] = record.versions.at(1);  // of no worth: bound to version 1
  rewrite(record);
  Daemon daemon(world);
  EXPECT_EQ(heal(daemon).failures.size(), 1u);
  record.versions.erase(2);
  rewrite(record);
  EXPECT_EQ(heal(daemon).whole, 1u);
}

TEST_F(MendWraps, a_wrap_that_the_daemon_saw_to_be_broken_is_mended_in_the_background) {
  const std::string key = Daemon(world).read("orders");
  damage("orders", {"a"});
  options = HealOptions();
  Daemon daemon(world);
  Healer healer(world.time.loop, daemon.store, *daemon.regions, world.log.log(), options);
  TaskGroup<bool> running(world.time.loop);
  const auto run = [](Healer& all) -> Task<bool> {
    co_await all.run();
    co_return true;
  };
  running.start(run(healer));
  ASSERT_EQ(daemon.read("orders", false), key);
  ASSERT_EQ(daemon.seen.degraded, std::vector<std::string>{"orders"});
  healer.note_degraded("orders", true);
  wait(30s);
  EXPECT_EQ(read_from(0, "orders"), key);
  EXPECT_TRUE(world.log.has("was broken, and was replaced by a new one"));
  EXPECT_EQ(healer.status().waiting, 0u);
}

}  // namespace
}  // namespace keyfs
