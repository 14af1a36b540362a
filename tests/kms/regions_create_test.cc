#include <gmock/gmock.h>

#include "kms/regions_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RegionsCreate : public RegionsTest {
 protected:
  static std::vector<std::string> missing(const CreatedKey& created) {
    std::vector<std::string> names;
    for (const auto& failure : created.missing) {
      names.push_back(failure.region + ": " + failure.error.message);
    }
    return names;
  }
  // Every wrap holds the same key.
  void expect_sound(const CreatedKey& created) {
    for (auto* one : region) one->heal();
    for (const auto& [name, wrap] : created.wrapped) {
      WrappedKeys only;
      only[name] = wrap;
      auto got = unwrap(only);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_TRUE(got->key.equals(created.key.reveal()));
    }
  }
};

TEST_F(RegionsCreate, costs_one_generate_and_one_wrap_in_each_other_region) {
  build();
  auto created = create();
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->key.size(), 32u);
  EXPECT_EQ(created->region, "a");
  EXPECT_EQ(created->wrapped.size(), 3u);
  EXPECT_TRUE(created->missing.empty());
  EXPECT_EQ(region[0]->calls.generate, 1);
  EXPECT_EQ(region[1]->calls.wrap, 1);
  EXPECT_EQ(region[2]->calls.wrap, 1);
  EXPECT_EQ(all_calls(), 3);
  expect_sound(*created);
}

TEST_F(RegionsCreate, the_wraps_are_made_at_the_same_time) {
  build();
  for (auto* one : region) one->answer_after(50ms);
  EXPECT_EQ(timed([&] { ASSERT_TRUE(create()); }), 100ms);
}

TEST_F(RegionsCreate, one_region_of_three_down_is_recorded_as_missing_with_its_reason) {
  build();
  region[0]->fail_with(Code::kDenied, "the master key is disabled");
  auto created = create();
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->region, "b");
  EXPECT_THAT(missing(*created), ElementsAre("a: the master key is disabled"));
  EXPECT_EQ(region[0]->calls.wrap, 0) << "a refusal is not asked for twice";
  expect_sound(*created);
}

TEST_F(RegionsCreate, a_region_that_calls_its_request_invalid_is_missing_and_another_generates) {
  build();
  for (size_t bad = 0; bad < 3; ++bad) {
    for (auto* one : region) one->heal();
    region[bad]->fail_with(Code::kInvalid, "there is no AWS profile nosuch");
    auto created = create();
    ASSERT_TRUE(created) << created.error().message;
    EXPECT_THAT(missing(*created),
                ElementsAre(regions->names()[bad] + ": there is no AWS profile nosuch"));
    EXPECT_EQ(created->wrapped.size(), 2u);
  }
  region[0]->fail_with(Code::kInvalid, "there is no AWS profile nosuch");
  region[1]->fail_with(Code::kUnavailable, "connection refused");
  auto created = create();
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::kUnavailable);
  EXPECT_THAT(created.error().message, HasSubstr("a: there is no AWS profile nosuch"));
  EXPECT_THAT(created.error().message, HasSubstr("b: connection refused"));
}

TEST_F(RegionsCreate, a_region_that_hangs_costs_its_grace_and_not_the_deadline) {
  build();
  region[2]->hang();
  Result<CreatedKey> created = fail(Code::kInvalid, "");
  EXPECT_EQ(timed([&] { created = create(10s); }), 1s);
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_THAT(missing(*created), ElementsAre("c: did not answer within 1s"));
  EXPECT_EQ(under_way(), 0);
  expect_sound(*created);
}

TEST_F(RegionsCreate, the_grace_is_a_few_times_its_p95_once_that_is_known) {
  build();
  for (auto* one : region) one->answer_after(40ms);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(create());
  region[2]->hang();
  EXPECT_EQ(timed([&] { ASSERT_TRUE(create()); }), 40ms + 120ms);
}

TEST_F(RegionsCreate, a_generating_region_that_hangs_costs_a_hedge_delay_and_its_grace) {
  build();
  region[0]->hang();
  Result<CreatedKey> created = fail(Code::kInvalid, "");
  EXPECT_LE(timed([&] { created = create(10s); }), 200ms + 1s);
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->region, "b");
  expect_sound(*created);
}

TEST_F(RegionsCreate, too_few_regions_fail_and_say_how_many_and_why) {
  build();
  region[1]->fail_with(Code::kDenied, "the master key is disabled");
  region[2]->hang();
  auto created = create(2s);
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::kTimeout);
  EXPECT_EQ(created.error().message,
            "wrapped in 1 of 2 required regions (b: the master key is disabled; c: timed out after "
            "2s)");
}

TEST_F(RegionsCreate, a_moments_failure_of_a_needed_region_is_tried_again) {
  options.create_min_regions = 3;
  build();
  region[2]->fail_with(Code::kThrottled);
  TaskGroup<Result<CreatedKey>> group(time.loop);
  group.start(regions->create(32, context, in(10s)));
  const auto early = [&]() -> Task<bool> { co_return !(co_await group.next(in(60ms))); };
  EXPECT_TRUE(time.loop.run_task(early())) << "it pauses";
  region[2]->heal();
  const auto rest = [&]() -> Task<Result<CreatedKey>> {
    auto finished = co_await group.next();
    co_return std::move(finished->value);
  };
  auto created = time.loop.run_task(rest());
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_TRUE(created->missing.empty());
}

TEST_F(RegionsCreate, a_region_that_is_not_needed_is_not_tried_again) {
  build();
  region[2]->fail_with(Code::kUnavailable);
  EXPECT_EQ(timed([&] { ASSERT_TRUE(create()); }), 0s);
  EXPECT_EQ(region[2]->calls.wrap, 1);
}

TEST_F(RegionsCreate, throttled_everywhere_is_throttled) {
  build();
  for (auto* one : region) one->fail_with(Code::kThrottled, "over quota");
  auto created = create();
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::kThrottled);
  EXPECT_THAT(created.error().message,
              HasSubstr("no region could generate a data key (a: over quota"));
}

TEST_F(RegionsCreate, dropping_it_drops_every_call_and_wipes_the_plaintext) {
  build();
  region[1]->hang();
  region[2]->hang();
  const size_t before = arena.usage().secrets;
  {
    TaskGroup<Result<CreatedKey>> group(time.loop);
    group.start(regions->create(32, context, in(1h)));
    const auto early = [&]() -> Task<bool> { co_return !(co_await group.next(in(100ms))); };
    EXPECT_TRUE(time.loop.run_task(early()));
    EXPECT_EQ(under_way(), 2);
    EXPECT_GT(arena.usage().secrets, before);
  }
  EXPECT_EQ(under_way(), 0);
  EXPECT_EQ(arena.usage().secrets, before);
}

TEST_F(RegionsCreate, wrap_missing_wraps_the_same_key_and_tells_what_failed) {
  build();
  auto created = create();
  ASSERT_TRUE(created);
  region[1]->fail_with(Code::kUnavailable, "connection refused");
  auto more = time.loop.run_task(
      regions->wrap_missing(created->key, context, {"b", "c", "nowhere"}, in(5s)));
  EXPECT_EQ(more.wrapped.size(), 1u);
  ASSERT_EQ(more.missing.size(), 2u);
  EXPECT_EQ(more.missing[0].region, "b");
  EXPECT_EQ(more.missing[1].region, "nowhere");
  created->wrapped = std::move(more.wrapped);
  expect_sound(*created);
}

TEST_F(RegionsCreate, wrap_missing_gives_a_slow_region_until_the_deadline) {
  build();
  auto created = create();
  ASSERT_TRUE(created);
  region[1]->answer_after(4s);
  region[2]->hang();
  WrappedMore more;
  const auto heal = [&] {
    more = time.loop.run_task(regions->wrap_missing(created->key, context, {"b", "c"}, in(5s)));
  };
  EXPECT_EQ(timed(heal), 5s);
  EXPECT_TRUE(more.wrapped.contains("b"));
  ASSERT_EQ(more.missing.size(), 1u);
  EXPECT_EQ(more.missing[0].error.code, Code::kTimeout);
}

TEST_F(RegionsCreate, check_tells_of_every_region_also_of_one_that_hangs) {
  build();
  region[1]->hang();
  auto checks = time.loop.run_task(regions->check(in(2s)));
  ASSERT_EQ(checks.size(), 3u);
  EXPECT_TRUE(checks[0].second.items.back().ok);
  EXPECT_EQ(checks[1].first, "b");
  EXPECT_FALSE(checks[1].second.items.front().ok);
  EXPECT_TRUE(checks[2].second.items.back().ok);
}

TEST_F(RegionsCreate, only_regions_in_use_are_kept_warm) {
  build();
  region[1]->fail_with(Code::kDenied);
  ASSERT_TRUE(create());
  time.loop.run_task(regions->keep_warm());
  EXPECT_EQ(region[0]->calls.keep_warm, 1);
  EXPECT_EQ(region[1]->calls.keep_warm, 0);
  EXPECT_EQ(region[2]->calls.keep_warm, 1);
}

TEST_F(RegionsCreate, keeping_warm_does_not_wait_for_ever_for_a_region_that_hangs) {
  build();
  region[1]->hang();
  EXPECT_EQ(timed([&] { time.loop.run_task(regions->keep_warm()); }), 5s);
}

TEST_F(RegionsCreate, more_required_regions_than_there_are_is_a_configuration_error) {
  std::vector<std::unique_ptr<Region>> one;
  one.push_back(memory_region(time.loop, arena, random, "a"));
  auto made = Regions::make(
      time.loop, std::move(one), [] { return 0.5; }, options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kInvalid);
  EXPECT_EQ(made.error().message, "create_min_regions = 2 cannot be met: 1 region is configured");
}

TEST_F(RegionsCreate, two_regions_of_one_name_are_a_configuration_error) {
  std::vector<std::unique_ptr<Region>> two;
  two.push_back(memory_region(time.loop, arena, random, "a"));
  two.push_back(memory_region(time.loop, arena, random, "a"));
  auto made = Regions::make(
      time.loop, std::move(two), [] { return 0.5; }, options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "region a is configured twice");
}

}  // namespace
}  // namespace keyfs::testing
