#include "fs/upkeep/key_versions.h"

#include "fs/upkeep/healer.h"
#include "fs/upkeep/key_versions_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::Host;
using testing::KeyVersionsTest;
using namespace std::chrono_literals;

TEST_F(KeyVersionsTest, a_rotation_makes_one_version_tests_it_and_makes_it_current) {
  const Record before = orders();
  const auto told = rotate("t1");
  ASSERT_TRUE(told) << told.error().message;
  EXPECT_EQ(told->outcome, Outcome::kPromoted);
  EXPECT_TRUE(told->made);
  EXPECT_EQ(told->before, 1u);
  EXPECT_EQ(told->current, 2u);
  EXPECT_EQ(told->regions, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(told->missing.empty());
  const Record now = orders();
  EXPECT_EQ(now.current, 2u);
  EXPECT_EQ(now.last, 2u);
  EXPECT_EQ(now.pending, 0u);
  EXPECT_EQ(now.serial, before.serial + 1);
  EXPECT_EQ(now.versions.at(1), before.versions.at(1));
  EXPECT_EQ(now.versions.at(2).token, "t1");
  EXPECT_EQ(now.versions.at(2).creator, "admin-host");
  EXPECT_FALSE(now.versions.at(2).promoted.empty());
  EXPECT_EQ(now.versions.at(2).bytes, 32u);
  for (const auto* region : host.daemon.region) EXPECT_EQ(region->calls.unwrap, 1);
  const std::string second = Daemon(world).read("orders", false);
  EXPECT_EQ(second.size(), 32u);
  EXPECT_NE(second, first);
  EXPECT_EQ(host.notebook.noted.at("orders"), now);
}

TEST_F(KeyVersionsTest, the_same_rotation_again_makes_nothing_and_another_one_does) {
  ASSERT_TRUE(rotate("t1"));
  const Record before = orders();
  const auto again = rotate("t1");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->outcome, Outcome::kAlready);
  EXPECT_FALSE(again->made);
  EXPECT_EQ(orders(), before);
  ASSERT_TRUE(rotate("t2"));
  EXPECT_EQ(orders().current, 3u);
  EXPECT_EQ(rotate("t1")->outcome, Outcome::kAlready);
  EXPECT_EQ(orders().current, 3u);
}

TEST_F(KeyVersionsTest, a_held_version_is_current_once_it_is_promoted) {
  const auto held = rotate("t1", true);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->outcome, Outcome::kHeld);
  EXPECT_EQ(orders().pending, 2u);
  EXPECT_EQ(orders().serial, 1u);
  EXPECT_EQ(version_state(orders(), 2), VersionState::kPending);
  EXPECT_EQ(Daemon(world).read("orders", false), first);
  const auto promoted = run(host.versions.promote("orders", 2));
  ASSERT_TRUE(promoted) << promoted.error().message;
  EXPECT_EQ(promoted->outcome, Outcome::kPromoted);
  EXPECT_EQ(orders().current, 2u);
  EXPECT_EQ(orders().pending, 0u);
  EXPECT_EQ(run(host.versions.promote("orders", 2))->outcome, Outcome::kAlready);
  EXPECT_EQ(orders().serial, 2u);
}

TEST_F(KeyVersionsTest, the_same_rotation_without_hold_goes_on_with_the_held_version) {
  ASSERT_TRUE(rotate("t1", true));
  const auto told = rotate("t1");
  ASSERT_TRUE(told);
  EXPECT_EQ(told->outcome, Outcome::kPromoted);
  EXPECT_FALSE(told->made);
  EXPECT_EQ(orders().versions.size(), 2u);
}

TEST_F(KeyVersionsTest, an_older_version_becomes_current_only_by_promote) {
  ASSERT_TRUE(rotate("t1"));
  const auto told = run(host.versions.promote("orders", 1));
  ASSERT_TRUE(told);
  EXPECT_EQ(told->before, 2u);
  EXPECT_EQ(told->current, 1u);
  EXPECT_EQ(orders().serial, 3u);
  EXPECT_EQ(Daemon(world).read("orders", false), first);
  EXPECT_EQ(version_state(orders(), 2), VersionState::kReadable);
  EXPECT_EQ(rotate("t1")->outcome, Outcome::kAlready) << "that rotation was done";
  EXPECT_EQ(orders().current, 1u);
}

TEST_F(KeyVersionsTest, a_promotion_from_another_version_does_nothing_and_tells_what_is_current) {
  ASSERT_TRUE(rotate("t1"));
  const Record before = orders();
  for (const uint32_t from : {0u, 1u, 7u}) {
    const auto told = run(host.versions.promote("orders", 1, from));
    ASSERT_TRUE(told) << told.error().message;
    EXPECT_EQ(told->outcome, Outcome::kSuperseded);
    EXPECT_EQ(told->current, 2u);
    EXPECT_EQ(run(host.versions.promote("orders", 2, from))->outcome, Outcome::kAlready);
  }
  // Also where that version is none any more.
  EXPECT_EQ(run(host.versions.promote("orders", 9, 0))->outcome, Outcome::kSuperseded);
  EXPECT_EQ(orders(), before);
  EXPECT_EQ(run(host.versions.promote("orders", 1, 2))->outcome, Outcome::kPromoted);
  EXPECT_EQ(orders().current, 1u);
}

TEST_F(KeyVersionsTest, what_was_done_already_tells_where_it_is_not_wrapped) {
  host.daemon.region[2]->fail_with(Code::kUnavailable, "is down");
  ASSERT_TRUE(rotate("t1"));
  const auto again = rotate("t1");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->outcome, Outcome::kAlready);
  ASSERT_EQ(again->missing.size(), 1u);
  EXPECT_EQ(again->missing[0].region, "c");
}

TEST_F(KeyVersionsTest, what_was_done_already_tells_what_was_current_before_it) {
  EXPECT_EQ(run(host.versions.promote("orders", 1))->before, 0u) << "there was none";
  ASSERT_TRUE(rotate("t1"));
  wait(2s);
  const auto again = rotate("t1");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->outcome, Outcome::kAlready);
  EXPECT_EQ(again->before, 1u);
  EXPECT_EQ(again->current, 2u);
  ASSERT_TRUE(run(host.versions.promote("orders", 1)));
  wait(2s);
  ASSERT_TRUE(rotate("t2"));
  EXPECT_EQ(rotate("t2")->before, 1u) << "2 is higher, but was current earlier";
  // What a run asks for once it was promoted by hand.
  wait(2s);
  ASSERT_TRUE(run(host.versions.promote("orders", 2)));
  const auto promoted = run(host.versions.promote("orders", 2, 0));
  EXPECT_EQ(promoted->outcome, Outcome::kAlready);
  EXPECT_EQ(promoted->before, 3u);
  const auto superseded = run(host.versions.promote("orders", 1, 0));
  EXPECT_EQ(superseded->outcome, Outcome::kSuperseded);
  EXPECT_EQ(superseded->before, 3u);
  EXPECT_EQ(superseded->current, 2u);
}

TEST_F(KeyVersionsTest, a_rotation_that_comes_late_never_lowers_current) {
  ASSERT_TRUE(rotate("t1", true));
  ASSERT_TRUE(rotate("t2"));
  EXPECT_EQ(orders().current, 3u);
  EXPECT_EQ(orders().pending, 0u);
  const auto late = rotate("t1");
  ASSERT_TRUE(late);
  EXPECT_EQ(late->outcome, Outcome::kSuperseded);
  EXPECT_EQ(late->version, 2u);
  EXPECT_EQ(orders().current, 3u);
  EXPECT_EQ(run(host.versions.promote("orders", 2))->outcome, Outcome::kPromoted)
      << "an operator may";
}

TEST_F(KeyVersionsTest, a_rotation_that_comes_late_does_not_undo_an_operators_way_back) {
  ASSERT_TRUE(rotate("t1", true));
  ASSERT_TRUE(rotate("t2"));
  ASSERT_TRUE(run(host.versions.promote("orders", 1)));
  EXPECT_EQ(rotate("t1")->outcome, Outcome::kSuperseded);
  EXPECT_EQ(orders().current, 1u);
}

TEST_F(KeyVersionsTest, a_rotation_whose_version_or_key_is_gone_is_refused) {
  ASSERT_TRUE(rotate("t1", true));
  ASSERT_TRUE(rotate("t2"));
  ASSERT_TRUE(run(host.versions.retire("orders", 3)));
  ASSERT_TRUE(run(host.versions.destroy("orders", {2})));
  const auto late = rotate("t1");
  ASSERT_TRUE(late);
  ASSERT_TRUE(late->not_promoted);
  EXPECT_NE(late->not_promoted->message.find("destroyed"), std::string::npos);
  ASSERT_TRUE(run(host.admin.set_state("orders", KeyState::kDeleted, now() + 10s)));
  EXPECT_TRUE(rotate("t1")->not_promoted) << "of a deleted key";
}

TEST_F(KeyVersionsTest, a_serial_at_its_end_is_refused_and_not_begun_anew) {
  change("orders", [](Record& record) { record.serial = UINT64_MAX - 1; });
  ASSERT_EQ(orders().serial, UINT64_MAX);
  EXPECT_EQ(rotate("t1").error().code, Code::kInvalid);
  const auto disabled = run(host.admin.set_state("orders", KeyState::kDisabled, now() + 10s));
  EXPECT_EQ(disabled.error().code, Code::kInvalid);
  EXPECT_EQ(orders().serial, UINT64_MAX);
}

TEST_F(KeyVersionsTest, with_too_few_regions_nothing_is_made) {
  const Record before = orders();
  host.daemon.region[0]->fail_with(Code::kUnavailable, "is down");
  host.daemon.region[1]->fail_with(Code::kUnavailable, "is down");
  const auto told = rotate("t1");
  ASSERT_FALSE(told);
  EXPECT_EQ(told.error().code, Code::kUnavailable);
  EXPECT_NE(told.error().message.find("wrapped in 1 of 2 required regions"), std::string::npos)
      << told.error().message;
  EXPECT_EQ(orders(), before);
}

TEST_F(KeyVersionsTest, with_too_few_regions_to_test_in_the_old_version_stays_current) {
  ASSERT_TRUE(rotate("t1", true));
  host.daemon.region[0]->fail_with(Code::kUnavailable, "is down");
  host.daemon.region[1]->hang();
  const Record before = orders();
  for (const bool hold : {false, true}) {
    const auto told = rotate("t1", hold);
    ASSERT_TRUE(told);
    EXPECT_EQ(told->outcome, Outcome::kNot);
    ASSERT_TRUE(told->not_promoted);
    EXPECT_NE(told->not_promoted->message.find("tested in 1 of 2 required regions"),
              std::string::npos)
        << told->not_promoted->message;
    EXPECT_NE(told->not_promoted->message.find("a: is down"), std::string::npos);
    EXPECT_EQ(told->current, 1u);
  }
  const auto promoted = run(host.versions.promote("orders", 2));
  ASSERT_TRUE(promoted);
  EXPECT_TRUE(promoted->not_promoted);
  EXPECT_EQ(orders(), before);
  EXPECT_EQ(Daemon(world).read("orders", false), first);
  host.daemon.regions_heal();
  wait(10min);
  EXPECT_EQ(rotate("t1")->outcome, Outcome::kPromoted);
  EXPECT_EQ(orders().versions.size(), 2u);
}

TEST_F(KeyVersionsTest, a_region_that_is_out_is_told_as_missing) {
  host.daemon.region[2]->fail_with(Code::kUnavailable, "is down");
  const auto told = rotate("t1");
  ASSERT_TRUE(told) << told.error().message;
  EXPECT_EQ(told->outcome, Outcome::kPromoted);
  EXPECT_EQ(told->regions, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(told->missing.size(), 1u);
  EXPECT_EQ(told->missing[0].region, "c");
  EXPECT_NE(told->missing[0].error.message.find("is down"), std::string::npos);
}

TEST_F(KeyVersionsTest, a_wrap_that_is_wrong_is_dropped_before_the_version_is_current) {
  host.daemon.region[2]->fault.broken_blob = true;
  const auto told = rotate("t1");
  ASSERT_TRUE(told) << told.error().message;
  EXPECT_EQ(told->outcome, Outcome::kPromoted);
  ASSERT_EQ(told->missing.size(), 1u);
  EXPECT_EQ(told->missing[0].region, "c");
  EXPECT_EQ(told->missing[0].error.code, Code::kCorrupt);
  EXPECT_FALSE(orders().versions.at(2).wrapped.contains("c"));
  EXPECT_EQ(orders().versions.at(2).wrapped.size(), 2u);
  EXPECT_EQ(orders().versions.at(1).wrapped.size(), 3u);
}

TEST_F(KeyVersionsTest, wraps_that_are_wrong_do_not_count_and_are_made_anew) {
  host.daemon.region[1]->fault.broken_blob = true;
  host.daemon.region[2]->fault.broken_blob = true;
  const auto told = rotate("t1");
  ASSERT_TRUE(told) << told.error().message;
  EXPECT_TRUE(told->not_promoted);
  EXPECT_EQ(orders().current, 1u);
  host.daemon.regions_heal();
  wait(10min);
  const auto again = rotate("t1");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->outcome, Outcome::kPromoted);
  EXPECT_TRUE(again->missing.empty());
  EXPECT_EQ(orders().versions.size(), 2u);
  Host other(world);
  other.daemon.region[0]->fail_with(Code::kUnavailable);
  other.daemon.region[1]->fail_with(Code::kUnavailable);
  EXPECT_EQ(other.daemon.read("orders", false).size(), 32u) << "by what region c has now";
}

TEST_F(KeyVersionsTest, a_version_that_was_served_keeps_a_wrap_that_does_not_fit_now) {
  ASSERT_TRUE(rotate("t1"));
  host.daemon.region[2]->fault.wrong_key = true;
  const auto told = run(host.versions.promote("orders", 1));
  ASSERT_TRUE(told);
  EXPECT_EQ(told->outcome, Outcome::kPromoted);
  ASSERT_EQ(told->missing.size(), 1u);
  EXPECT_EQ(orders().versions.at(1).wrapped.size(), 3u);
}

TEST_F(KeyVersionsTest, what_may_not_be_rotated_is_refused_and_unchanged) {
  const auto refused = [&](const std::string& id) {
    const auto told = rotate(host, "t1", false, id);
    if (told) return std::string("rotated");
    EXPECT_EQ(told.error().code, Code::kInvalid);
    return told.error().message;
  };
  EXPECT_EQ(refused("nobody"), "there is no key nobody (keyfs create nobody makes one)");
  EXPECT_EQ(word_of(rotate(host, "t1", false, "nobody").error(), "nobody"), "absent");
  EXPECT_NE(refused("no/id").find("not a valid key id"), std::string::npos);
  ASSERT_TRUE(run(host.admin.set_state("orders", KeyState::kDisabled, now() + 10s)));
  const Record disabled = orders();
  EXPECT_NE(refused("orders").find("it is disabled"), std::string::npos);
  EXPECT_EQ(orders(), disabled);
  ASSERT_TRUE(run(host.admin.set_state("orders", KeyState::kDeleted, now() + 10s)));
  const Record deleted = orders();
  EXPECT_NE(refused("orders").find("it was deleted, which is permanent"), std::string::npos);
  EXPECT_EQ(orders(), deleted);
  EXPECT_EQ(host.daemon.region_calls(), 0);
  EXPECT_EQ(rotate("no token").error().code, Code::kInvalid);
}

TEST_F(KeyVersionsTest, retired_versions_are_refused_until_min_is_lowered_again) {
  ASSERT_TRUE(rotate("t1"));
  ASSERT_TRUE(rotate("t2"));
  const auto retired = run(host.versions.retire("orders", 3));
  ASSERT_TRUE(retired);
  EXPECT_EQ(retired->before, 1u);
  EXPECT_EQ(retired->after, 3u);
  EXPECT_EQ(orders().min, 3u);
  EXPECT_EQ(orders().serial, 4u);
  EXPECT_EQ(readable_versions(orders()), std::vector<uint32_t>{3});
  const Record before = orders();
  ASSERT_TRUE(run(host.versions.retire("orders", 3)));
  EXPECT_EQ(orders(), before) << "done already";
  const auto too_high = run(host.versions.retire("orders", 4));
  ASSERT_FALSE(too_high);
  EXPECT_EQ(too_high.error().code, Code::kInvalid);
  const auto promoted = run(host.versions.promote("orders", 2));
  ASSERT_FALSE(promoted);
  EXPECT_NE(promoted.error().message.find("is retired"), std::string::npos);
  EXPECT_EQ(orders(), before);
  ASSERT_TRUE(run(host.versions.retire("orders", 2)));
  EXPECT_EQ(orders().serial, 5u);
  EXPECT_EQ(run(host.versions.promote("orders", 2))->outcome, Outcome::kPromoted);
}

TEST_F(KeyVersionsTest, only_retired_versions_are_destroyed_and_they_keep_their_check_value) {
  ASSERT_TRUE(rotate("t1"));
  ASSERT_TRUE(rotate("t2"));
  ASSERT_TRUE(run(host.versions.retire("orders", 2)));
  const Record before = orders();
  for (const auto& numbers : {std::vector<uint32_t>{1, 2}, {1, 3}, {1, 9}}) {
    const auto refused = run(host.versions.destroy("orders", numbers));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kInvalid);
    EXPECT_EQ(orders(), before) << "all or none";
  }
  const auto done = run(host.versions.destroy("orders", {1, 1}));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->destroyed, std::vector<uint32_t>{1});
  EXPECT_TRUE(orders().versions.at(1).wrapped.empty());
  EXPECT_EQ(orders().versions.at(1).check, before.versions.at(1).check);
  EXPECT_EQ(orders().serial, before.serial);
  const Record destroyed = orders();
  EXPECT_EQ(run(host.versions.destroy("orders", {1}))->already, std::vector<uint32_t>{1});
  EXPECT_EQ(orders(), destroyed);
  ASSERT_TRUE(run(host.versions.retire("orders", 1)));
  const auto promoted = run(host.versions.promote("orders", 1));
  ASSERT_FALSE(promoted);
  EXPECT_NE(promoted.error().message.find("was destroyed"), std::string::npos);
}

TEST_F(KeyVersionsTest, the_healer_leaves_destroyed_versions_alone_and_none_is_degraded_for_one) {
  ASSERT_TRUE(rotate("t1"));
  ASSERT_TRUE(run(host.versions.retire("orders", 2)));
  ASSERT_TRUE(run(host.versions.destroy("orders", {1})));
  const Record before = orders();
  Healer healer(world.time.loop, host.store, *host.daemon.regions, world.log.log(),
                {.calls_per_second = 0, .verify = true}, &host.daemon.no_memory, &host.notebook);
  std::vector<std::string> ids(1, "orders");
  const auto healed = run(healer.run_once(std::move(ids), now() + 10s));
  ASSERT_TRUE(healed);
  EXPECT_TRUE(healed->complete());
  EXPECT_EQ(healed->whole, 1u);
  EXPECT_EQ(orders(), before);
  const auto described = run(host.admin.describe("orders", now() + 10s));
  ASSERT_TRUE(described);
  EXPECT_FALSE(described->degraded());
  EXPECT_EQ(described->versions.at(0).state, VersionState::kDestroyed);
  EXPECT_TRUE(described->versions.at(0).missing.empty());
}

TEST_F(KeyVersionsTest, a_record_that_is_full_says_how_to_make_room_and_destroying_makes_it) {
  for (int i = 2; i <= 100; ++i) ASSERT_TRUE(rotate("t" + std::to_string(i))) << i;
  const Record full = orders();
  const auto refused = rotate("t101");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("keyfs destroy orders"), std::string::npos)
      << refused.error().message;
  EXPECT_EQ(orders(), full);
  EXPECT_EQ(rotate("t100")->outcome, Outcome::kAlready) << "nothing is to be made";
  ASSERT_TRUE(run(host.versions.retire("orders", 3)));
  ASSERT_TRUE(run(host.versions.destroy("orders", {1, 2})));
  EXPECT_EQ(rotate("t101")->version, 101u);
  EXPECT_EQ(orders().versions.size(), 101u);
}

TEST_F(KeyVersionsTest, a_record_near_its_bound_of_bytes_refuses_before_it_is_written) {
  Record record = orders();
  record.unknown = R"({"later":")" + std::string((size_t{248} << 10), 'x') + "\"}";
  rewrite(record);
  const auto refused = rotate("t1");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("256 KiB"), std::string::npos);
  EXPECT_EQ(orders(), record);
}

TEST_F(KeyVersionsTest, no_version_is_made_where_this_host_cannot_tell_what_it_has_seen) {
  testing::ScriptedMemory memory(world.time.loop);
  Host careful(world, nullptr, &memory);
  const Record before = orders();
  const auto told = [&] {
    const auto done = rotate(careful, "t1");
    return done ? "rotated" : std::string(to_string(done.error().code));
  };
  memory.says(Recall::What::kUnknown);
  EXPECT_EQ(told(), "unavailable");
  memory.says(Recall::What::kKnown);
  memory.answer.why.emplace(Code::kCorrupt, "its row is damaged");
  EXPECT_EQ(told(), "unavailable");
  Record newer = before;
  newer.versions[2] = newer.versions.at(1);
  newer.last = newer.current = 2;
  newer.serial = 2;
  memory.knows(newer);
  EXPECT_EQ(told(), "corrupt") << "a restored backup: version 2 was another key";
  memory.says(Recall::What::kNever);
  memory.hangs = true;
  EXPECT_EQ(told(), "unavailable");
  memory.hangs = false;
  careful.notebook.cannot_prove.emplace(Code::kUnavailable, "the disk is full");
  EXPECT_EQ(told(), "unavailable");
  EXPECT_EQ(orders(), before);
  EXPECT_EQ(careful.daemon.region_calls(), 0);
  careful.notebook.cannot_prove.reset();
  memory.says(Recall::What::kKnown);
  memory.answer.why = seen_unproven("orders");
  EXPECT_EQ(told(), "rotated") << "it was only looked at";
}

TEST_F(KeyVersionsTest, retiring_and_destroying_depend_on_no_memory_and_tell_that_it_was_not_told) {
  ASSERT_TRUE(rotate("t1"));
  host.notebook.cannot_write.emplace(Code::kUnavailable, "the disk is full");
  const auto retired = run(host.versions.retire("orders", 2));
  ASSERT_TRUE(retired);
  EXPECT_TRUE(retired->not_noted);
  const auto destroyed = run(host.versions.destroy("orders", {1}));
  ASSERT_TRUE(destroyed);
  EXPECT_TRUE(destroyed->not_noted);
  EXPECT_EQ(version_state(orders(), 1), VersionState::kDestroyed);
}

TEST_F(KeyVersionsTest, deleting_a_rotated_key_destroys_every_version) {
  ASSERT_TRUE(rotate("t1"));
  ASSERT_TRUE(rotate("t2", true));
  ASSERT_TRUE(run(host.admin.set_state("orders", KeyState::kDeleted, now() + 10s)));
  EXPECT_EQ(orders().pending, 0u);
  for (const uint32_t number : {1u, 2u, 3u}) {
    EXPECT_EQ(version_state(orders(), number), VersionState::kDestroyed);
  }
  EXPECT_FALSE(run(host.versions.promote("orders", 3)));
  EXPECT_FALSE(run(host.versions.retire("orders", 2)));
}

TEST_F(KeyVersionsTest, a_description_tells_of_each_version) {
  ASSERT_TRUE(rotate("t1"));
  ASSERT_TRUE(rotate("t2", true));
  ASSERT_TRUE(run(host.versions.retire("orders", 2)));
  const auto told = run(host.admin.describe("orders", now() + 10s));
  ASSERT_TRUE(told);
  EXPECT_EQ(told->current, 2u);
  EXPECT_EQ(told->pending, 3u);
  EXPECT_EQ(told->min, 2u);
  ASSERT_EQ(told->versions.size(), 3u);
  EXPECT_EQ(told->versions[0].state, VersionState::kRetired);
  EXPECT_EQ(told->versions[1].state, VersionState::kReadable);
  EXPECT_FALSE(told->versions[1].promoted.empty());
  EXPECT_EQ(told->versions[2].state, VersionState::kPending);
}

}  // namespace
}  // namespace keyfs
