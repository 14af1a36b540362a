// What a read gets from the regions: the key, or which error.
#include <gmock/gmock.h>

#include "kms/regions_unwrap_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(RegionsUnwrap, one_healthy_read_asks_the_first_region_only) {
  build_with_key();
  auto got = unwrap(wrapped);
  expect_the_key(got);
  EXPECT_EQ(got->region, "a");
  EXPECT_FALSE(got->hedged);
  EXPECT_EQ(got->asked, 1u);
  EXPECT_FALSE(got->suspect);
  EXPECT_EQ(region[0]->calls.unwrap, 1);
  EXPECT_EQ(all_calls(), 1);
}

TEST_F(RegionsUnwrap, any_one_region_is_enough) {
  build_with_key();
  for (size_t alive = 0; alive < 3; ++alive) {
    for (size_t i = 0; i < 3; ++i) {
      i == alive ? region[i]->heal() : region[i]->fail_with(Code::kUnavailable);
    }
    auto got = unwrap(wrapped);
    expect_the_key(got);
    EXPECT_EQ(got->region, regions->names()[alive]);
  }
}

TEST_F(RegionsUnwrap, a_failing_region_is_passed_over_at_once) {
  build_with_key();
  region[0]->fail_with(Code::kUnavailable, "connection refused");
  Result<UnwrappedKey> got = fail(Code::kInvalid, "");
  EXPECT_EQ(timed([&] { got = unwrap(wrapped); }), 0s);
  expect_the_key(got);
  EXPECT_EQ(got->region, "b");
  EXPECT_FALSE(got->hedged);
  ASSERT_EQ(got->failures.size(), 1u);
  EXPECT_EQ(got->failures[0].region, "a");
  EXPECT_THAT(counts.fallbacks, ElementsAre("b"));
}

TEST_F(RegionsUnwrap, a_plaintext_that_the_verifier_refuses_is_not_served_and_marks_the_record) {
  build_with_key();
  region[0]->fault.wrong_key = true;
  auto got = unwrap(wrapped);
  expect_the_key(got);
  EXPECT_EQ(got->region, "b");
  EXPECT_TRUE(got->suspect);
  ASSERT_EQ(got->failures.size(), 1u);
  EXPECT_EQ(got->failures[0].error.code, Code::kCorrupt);
}

TEST_F(RegionsUnwrap, a_corrupt_wrap_falls_back_and_marks_the_record) {
  build_with_key();
  wrapped["a"].blob.back() ^= 1;
  for (int i = 0; i < 5; ++i) {
    auto got = unwrap(wrapped);
    expect_the_key(got);
    EXPECT_TRUE(got->suspect);
  }
  EXPECT_TRUE(counts.breakers.empty()) << "the region is not to blame";
}

TEST_F(RegionsUnwrap, wraps_of_another_id_are_corrupt) {
  build_with_key();
  context = key_context("payments", 1);
  auto got = unwrap(wrapped);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kCorrupt);
}

struct Combined {
  Code a, b, c, expected;
};
class RegionsUnwrapCodes : public RegionsUnwrap, public ::testing::WithParamInterface<Combined> {};

TEST_P(RegionsUnwrapCodes, all_failing_give_the_code_of_the_table_and_every_reason) {
  options.rounds = 1;
  build_with_key();
  region[0]->fail_with(GetParam().a, "why a");
  region[1]->fail_with(GetParam().b, "why b");
  region[2]->fail_with(GetParam().c, "why c");
  auto got = unwrap(wrapped);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, GetParam().expected);
  EXPECT_EQ(got.error().message, "no region could unwrap it (a: why a; b: why b; c: why c)");
}

constexpr Code kU = Code::kUnavailable, kT = Code::kThrottled, kD = Code::kDenied,
               kN = Code::kUnauthenticated, kC = Code::kCorrupt, kI = Code::kInvalid;
INSTANTIATE_TEST_SUITE_P(Table, RegionsUnwrapCodes,
                         ::testing::Values(Combined{kT, kT, kT, kT}, Combined{kD, kD, kD, kD},
                                           Combined{kN, kN, kN, kN}, Combined{kD, kN, kD, kD},
                                           Combined{kU, kU, kU, kU}, Combined{kU, kD, kT, kU},
                                           Combined{kD, kT, kT, kT}, Combined{kT, kU, kT, kU},
                                           Combined{kC, kU, kU, kC}, Combined{kD, kD, kC, kC},
                                           Combined{kT, kC, kT, kC}, Combined{kI, kU, kU, kU},
                                           Combined{kU, kD, kI, kU}, Combined{kI, kC, kU, kC},
                                           Combined{kI, kI, kI, kI}));

TEST_F(RegionsUnwrap, what_one_region_calls_invalid_is_read_from_another) {
  build_with_key();
  region[0]->fail_with(Code::kInvalid, "there is no AWS profile nosuch");
  auto got = unwrap(wrapped);
  expect_the_key(got);
  EXPECT_EQ(got->region, "b");
  EXPECT_FALSE(got->suspect);
}

TEST_F(RegionsUnwrap, all_hanging_ends_at_the_deadline_and_says_how_long_each_was_waited_for) {
  build_with_key();
  for (auto* one : region) one->hang();
  Result<UnwrappedKey> got = fail(Code::kInvalid, "");
  EXPECT_EQ(timed([&] { got = unwrap(wrapped, 2s); }), 2s);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kTimeout);
  EXPECT_THAT(got.error().message, HasSubstr("a: timed out after 2s; b: timed out after 1.8s"));
  EXPECT_EQ(under_way(), 0);
}

TEST_F(RegionsUnwrap, a_moments_failure_everywhere_is_tried_again_within_the_deadline) {
  build_with_key();
  for (auto* one : region) one->fail_with(Code::kThrottled);
  TaskGroup<Result<UnwrappedKey>> group(time.loop);
  group.start(regions->unwrap(wrapped, context, verifier, in(10s)));
  EXPECT_TRUE(time.loop.run_task(still_waiting_after(group, 60ms))) << "it pauses";
  for (auto* one : region) one->heal();
  const auto rest = [&]() -> Task<Result<UnwrappedKey>> {
    auto finished = co_await group.next();
    co_return std::move(finished->value);
  };
  expect_the_key(time.loop.run_task(rest()));
}

TEST_F(RegionsUnwrap, dropping_the_read_drops_every_call) {
  build_with_key();
  for (auto* one : region) one->hang();
  {
    TaskGroup<Result<UnwrappedKey>> group(time.loop);
    group.start(regions->unwrap(wrapped, context, verifier, in(1h)));
    EXPECT_TRUE(time.loop.run_task(still_waiting_after(group, 1s)));
    EXPECT_EQ(under_way(), 3);
  }
  EXPECT_EQ(under_way(), 0);
}

TEST_F(RegionsUnwrap, a_wrap_of_a_region_that_is_not_configured_is_skipped_and_told) {
  build_with_key();
  wrapped["elsewhere"] = wrapped["a"];
  for (auto* one : region) one->fail_with(Code::kDenied);
  auto got = unwrap(wrapped);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kDenied);
  EXPECT_THAT(got.error().message, HasSubstr("; elsewhere: not configured here)"));
}

TEST_F(RegionsUnwrap, a_key_held_only_elsewhere_is_unavailable_rather_than_absent) {
  build_with_key();
  WrappedKeys only;
  only["elsewhere"] = wrapped["a"];
  only["elsewhere"].master = "local:0000000000000000";
  auto got = unwrap(only);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnavailable);
  EXPECT_EQ(got.error().message,
            "no region that holds it is configured (elsewhere: not configured here)");
}

TEST_F(RegionsUnwrap, a_key_that_is_wrapped_nowhere_is_corrupt) {
  build_with_key();
  auto got = unwrap({});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kCorrupt);
}

TEST_F(RegionsUnwrap, a_replica_of_a_multi_region_master_serves_anothers_wrap) {
  build({"a", "b"}, MemoryMaster::random_key(arena, random));
  auto made = create();
  ASSERT_TRUE(made);
  WrappedKeys only_a;
  only_a["a"] = made->wrapped["a"];
  region[0]->fail_with(Code::kUnavailable);
  auto got = unwrap(only_a);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->region, "b");
  EXPECT_TRUE(got->key.equals(made->key.reveal()));
}

}  // namespace
}  // namespace keyfs::testing
