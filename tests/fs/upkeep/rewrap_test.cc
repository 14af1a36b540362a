#include "fs/upkeep/rewrap.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "fs/keys/keyring_fixture.h"
#include "fs/upkeep/healer.h"
#include "fs/upkeep/scripted_notebook.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::MemoryMaster;
using testing::ScriptedNotebook;
using namespace std::chrono_literals;

struct RewrapTest : KeyringTest {
  RewrapTest() { options.calls_per_second = 0; }

  // Three new masters; those before unwrap only.
  void change_masters() {
    for (size_t i = 0; i < 3; ++i) {
      world.previous[i] = world.masters[i];
      world.masters[i] = MemoryMaster::random_key(world.arena, world.random);
    }
  }
  void forget_previous() {
    for (auto& master : world.previous) master = nullptr;
  }
  RewrapReport rewrap(Daemon& daemon, std::vector<std::string> ids = {}, std::string after = "") {
    Rewrap operation(world.time.loop, daemon.store, *daemon.regions, world.log.log(), options,
                     daemon.no_memory, notebook);
    const auto page_done = [this](const std::string& next) { pages.push_back(next); };
    const auto gone = world.time.loop.run_task(
        operation.run(std::move(ids), std::move(after), page_done, TimePoint::max()));
    if (!gone) stopped = gone.error();
    return operation.report();
  }
  std::string master_of(const std::string& id, uint32_t version, const std::string& region) {
    return stored(id).versions.at(version).wrapped.at(region).master;
  }

  RewrapOptions options;
  ScriptedNotebook notebook;
  std::vector<std::string> pages;
  std::optional<Error> stopped;
};

TEST_F(RewrapTest, to_three_new_masters_keeps_every_version_and_a_second_pass_makes_no_wrap) {
  std::vector<std::string> firsts, seconds;
  for (const char* id : {"a", "b", "c"}) {
    Daemon maker(world);
    firsts.push_back(maker.read(id));
    seconds.push_back(rotate(maker, id));
  }
  change_masters();
  {
    Daemon daemon(world);
    const RewrapReport report = rewrap(daemon);
    EXPECT_TRUE(report.complete());
    EXPECT_EQ(report.keys, 3u);
    EXPECT_EQ(report.changed, 3u);
    EXPECT_EQ(report.versions, 6u);
    EXPECT_EQ(report.wraps, 18u);
    EXPECT_EQ(report.dropped, 0u);
    EXPECT_EQ(notebook.noted.size(), 3u);
    const RewrapReport again = rewrap(daemon);
    EXPECT_EQ(again.whole, 3u);
    EXPECT_EQ(again.wraps, 0u);
    EXPECT_EQ(again.calls, 0u);
  }
  forget_previous();
  Daemon reader(world);
  size_t at = 0;
  for (const char* id : {"a", "b", "c"}) {
    EXPECT_EQ(reader.read_version(id, 1), firsts[at]);
    EXPECT_EQ(reader.read_version(id, 2), seconds[at]);
    ++at;
  }
}

TEST_F(RewrapTest, a_dry_run_counts_what_the_run_does_asks_no_region_and_writes_nothing) {
  {
    Daemon maker(world);
    maker.read("a");
    rotate(maker, "a");
    maker.region[2]->fail_with(Code::kUnavailable);
    maker.read("b");
  }
  const Record before = stored("a");
  change_masters();
  Daemon daemon(world);
  options.dry_run = true;
  const RewrapReport planned = rewrap(daemon);
  EXPECT_EQ(daemon.region_calls(), 0);
  EXPECT_EQ(daemon.store.calls.replace, 0);
  EXPECT_EQ(stored("a"), before);
  EXPECT_TRUE(notebook.noted.empty() && notebook.seen.empty());
  options.dry_run = false;
  const RewrapReport done = rewrap(daemon);
  EXPECT_EQ(planned.keys, done.keys);
  EXPECT_EQ(planned.whole, done.whole);
  EXPECT_EQ(planned.changed, done.changed);
  EXPECT_EQ(planned.versions, done.versions);
  EXPECT_EQ(planned.wraps, done.wraps);
  EXPECT_EQ(planned.calls, done.calls);
  EXPECT_EQ(done.wraps, 9u);
  EXPECT_EQ(done.calls, 3u + 2 * 9u);
}

TEST_F(RewrapTest, a_dry_run_tells_which_calls_are_charged_for) {
  Daemon(world).read("orders");
  change_masters();
  Daemon daemon(world);
  daemon.region[0]->charged = daemon.region[1]->charged = true;
  options.dry_run = true;
  const RewrapReport planned = rewrap(daemon);
  EXPECT_EQ(planned.calls, 7u);
  EXPECT_EQ(planned.charged, 5u) << "an unwrap, and in two regions a wrap and its test";
  world.time.loop.run_task(daemon.regions->keep_warm_uncharged());
  EXPECT_EQ(daemon.region[0]->calls.keep_warm, 0);
  EXPECT_EQ(daemon.region[2]->calls.keep_warm, 1);
}

TEST_F(RewrapTest, a_wrap_that_its_region_does_not_unwrap_leaves_the_old_one_in_place) {
  const std::string key = Daemon(world).read("orders");
  change_masters();
  const std::string before = master_of("orders", 1, "a");
  Daemon daemon(world);
  daemon.region[0]->fault.broken_blob = true;
  const RewrapReport report = rewrap(daemon);
  ASSERT_EQ(report.left.size(), 1u);
  EXPECT_EQ(report.left[0].regions.at(0).region, "a");
  EXPECT_EQ(master_of("orders", 1, "a"), before);
  EXPECT_NE(master_of("orders", 1, "b"), before);
  EXPECT_EQ(report.wraps, 2u);
  EXPECT_EQ(Daemon(world).read("orders", false), key);
}

TEST_F(RewrapTest, a_region_that_hangs_costs_one_deadline_and_not_one_for_each_key) {
  {
    Daemon maker(world);
    for (const char* id : {"a", "b", "c"}) maker.read(id);
  }
  change_masters();
  Daemon daemon(world);
  daemon.region[0]->hang();
  const TimePoint begin = now();
  const RewrapReport report = rewrap(daemon);
  EXPECT_EQ(report.left.size(), 3u);
  EXPECT_EQ(report.wraps, 6u) << "the others have theirs";
  EXPECT_LT(now() - begin, 2 * options.call_deadline);
}

TEST_F(RewrapTest, older_than_wraps_anew_what_was_wrapped_before_and_only_once) {
  Daemon daemon(world);
  const std::string key = daemon.read("orders");
  wait(std::chrono::hours(24));
  options.older_than = world.time.loop.clock().wall();
  wait(2s);
  const Record before = stored("orders");
  EXPECT_EQ(rewrap(daemon).wraps, 3u);
  const Record after = stored("orders");
  for (const auto& [region, wrap] : after.versions.at(1).wrapped) {
    const Wrap& was = before.versions.at(1).wrapped.at(region);
    EXPECT_EQ(wrap.master, was.master);
    EXPECT_NE(wrap.blob, was.blob);
    EXPECT_NE(wrap.at, was.at);
  }
  EXPECT_EQ(after.serial, before.serial);
  EXPECT_EQ(rewrap(daemon).wraps, 0u);
  EXPECT_EQ(Daemon(world).read("orders", false), key);
}

TEST_F(RewrapTest, a_dry_run_counts_nothing_that_no_configured_master_unwraps) {
  Daemon(world).read("orders");
  change_masters();
  forget_previous();
  Daemon daemon(world);
  options.dry_run = true;
  const RewrapReport report = rewrap(daemon);
  EXPECT_EQ(report.wraps, 0u);
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_NE(report.failures[0].error.message.find("no master"), std::string::npos);
}

TEST_F(RewrapTest, a_store_that_is_another_one_is_not_called_whole) {
  Daemon daemon(world);
  daemon.store.fail_with(Code::kInvalid);
  rewrap(daemon);
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->code, Code::kInvalid);
}

TEST_F(RewrapTest, a_region_is_dropped_once_enough_others_have_unwrapped_theirs) {
  Daemon daemon(world);
  const std::string key = daemon.read("orders");
  options.drop = "c";
  daemon.forget();
  const RewrapReport report = rewrap(daemon);
  EXPECT_EQ(report.dropped, 1u);
  EXPECT_EQ(report.wraps, 0u);
  EXPECT_EQ(daemon.region[0]->calls.unwrap + daemon.region[1]->calls.unwrap, 2);
  EXPECT_FALSE(stored("orders").versions.at(1).wrapped.contains("c"));
  EXPECT_EQ(rewrap(daemon).whole, 1u);
  EXPECT_EQ(Daemon(world).read("orders", false), key);
}

TEST_F(RewrapTest, a_region_is_not_dropped_while_too_few_others_unwrap) {
  Daemon(world).read("orders");
  const Record before = stored("orders");
  Daemon daemon(world);
  daemon.region[0]->fail_with(Code::kUnavailable);
  options.drop = "c";
  const RewrapReport report = rewrap(daemon);
  EXPECT_EQ(report.dropped, 0u);
  ASSERT_EQ(report.left.size(), 1u);
  EXPECT_EQ(report.left[0].regions.at(0).region, "c");
  EXPECT_NE(report.left[0].regions.at(0).error.message.find("1 of 2"), std::string::npos);
  EXPECT_EQ(stored("orders"), before);
}

TEST_F(RewrapTest, the_last_wrap_is_never_dropped) {
  Daemon(world).read("orders");
  change("orders", [](Record& record) {
    record.versions.at(1).wrapped.erase("a");
    record.versions.at(1).wrapped.erase("b");
  });
  Daemon daemon(world, nullptr, {}, {}, 1);
  daemon.region[0]->fail_with(Code::kUnavailable);
  daemon.region[1]->fail_with(Code::kUnavailable);
  options.drop = "c";
  EXPECT_EQ(rewrap(daemon).dropped, 0u);
  EXPECT_TRUE(stored("orders").versions.at(1).wrapped.contains("c"));
}

TEST_F(RewrapTest, a_page_is_told_with_where_the_next_begins_and_a_later_run_goes_on_from_there) {
  constexpr int kKeys = 450;
  {
    Daemon maker(world);
    for (int i = 0; i < kKeys; ++i) maker.read("key" + std::to_string(1000 + i));
  }
  change_masters();
  Daemon daemon(world);
  const RewrapReport all = rewrap(daemon);
  EXPECT_EQ(all.wraps, 3u * kKeys);
  ASSERT_EQ(pages.size(), 2u);
  change_masters();
  Daemon next(world);
  const RewrapReport rest = rewrap(next, {}, pages[0]);
  EXPECT_EQ(rest.keys, kKeys - 200u);
  EXPECT_EQ(rest.wraps, 3u * rest.keys);
}

TEST_F(RewrapTest, no_page_is_told_after_a_key_has_failed) {
  {
    Daemon maker(world);
    for (int i = 0; i < 450; ++i) maker.read("key" + std::to_string(1000 + i));
  }
  world.records->write_raw("key1000", R"({"keyfs":1})");
  Daemon daemon(world);
  EXPECT_EQ(rewrap(daemon).failures.size(), 1u);
  EXPECT_TRUE(pages.empty());
}

TEST_F(RewrapTest, deleted_keys_and_destroyed_versions_are_left_alone) {
  {
    Daemon maker(world);
    maker.read("orders");
    rotate(maker, "orders");
    maker.read("gone");
  }
  retire("orders", 2);
  destroy("orders", 1);
  set_state("gone", KeyState::kDeleted);
  change_masters();
  Daemon daemon(world);
  const RewrapReport report = rewrap(daemon);
  EXPECT_EQ(report.keys, 1u);
  EXPECT_EQ(report.wraps, 3u);
  EXPECT_TRUE(stored("orders").versions.at(1).wrapped.empty());
}

TEST_F(RewrapTest, keeps_to_its_pace) {
  Daemon(world).read("a");
  Daemon(world).read("b");
  change_masters();
  options.calls_per_second = 1;
  Daemon daemon(world);
  const TimePoint begin = now();
  const RewrapReport report = rewrap(daemon);
  EXPECT_EQ(report.calls, 14u);
  // The last calls are made when their turn comes; what they delay is nothing any more.
  EXPECT_GE(now() - begin, 11s);
  EXPECT_LE(now() - begin, 14s);
}

TEST_F(RewrapTest, the_daemon_s_healer_wraps_anew_what_a_previous_master_wrapped_in_any_version) {
  std::string first, second;
  {
    Daemon maker(world);
    first = maker.read("orders");
    second = rotate(maker, "orders");
  }
  // Only the old version is under the old master.
  const Version old = stored("orders").versions.at(1);
  change_masters();
  {
    Daemon daemon(world);
    EXPECT_EQ(rewrap(daemon).wraps, 6u);
  }
  change("orders", [&](Record& record) { record.versions.at(1) = old; });
  Daemon daemon(world);
  HealOptions heal_options;
  heal_options.calls_per_second = 0;
  Healer healer(world.time.loop, daemon.store, *daemon.regions, world.log.log(), heal_options);
  const auto report = world.time.loop.run_task(healer.run_once({}, TimePoint::max()));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->healed, 1u);
  forget_previous();
  Daemon reader(world);
  EXPECT_EQ(reader.read_version("orders", 1), first);
  EXPECT_EQ(reader.read_version("orders", 2), second);
}

}  // namespace
}  // namespace keyfs
