// Regions::test(): what every region says about its own wrap.
#include "kms/regions_unwrap_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

struct RegionsTestWraps : testing::RegionsUnwrap {
  WrapsTested test(Duration time_left = 10s) {
    return time.loop.run_task(regions->test(wrapped, context, verifier, in(time_left)));
  }
};

TEST_F(RegionsTestWraps, every_region_unwraps_its_own_wrap) {
  build_with_key();
  const auto tested = test();
  EXPECT_EQ(tested.good, (std::vector<std::string>{"a", "b", "c"}));
  for (const auto* one : region) EXPECT_EQ(one->calls.unwrap, 1);
}

TEST_F(RegionsTestWraps, no_replica_of_the_same_master_stands_in_for_a_region) {
  build_with_key();
  region.clear();
  regions.reset();
  build({"a", "b", "c"}, testing::MemoryMaster::random_key(arena, random));
  auto made = create();
  ASSERT_TRUE(made);
  key = std::move(made->key);
  wrapped = std::move(made->wrapped);
  region[1]->fail_with(Code::kDenied);
  const auto tested = test();
  EXPECT_EQ(tested.good, (std::vector<std::string>{"a", "c"}));
  ASSERT_EQ(tested.untested.size(), 1u);
  EXPECT_EQ(tested.untested[0].region, "b");
  EXPECT_EQ(tested.untested[0].error.code, Code::kDenied);
}

TEST_F(RegionsTestWraps, a_wrong_wrap_a_silent_region_and_one_not_configured_are_told_apart) {
  build_with_key();
  wrapped.at("a").blob.back() ^= 1;
  region[1]->hang();
  wrapped["elsewhere"] = wrapped.at("c");
  Duration took{};
  WrapsTested tested;
  took = timed([&] { tested = test(3s); });
  EXPECT_EQ(took, 3s);
  EXPECT_EQ(tested.good, std::vector<std::string>{"c"});
  ASSERT_EQ(tested.wrong.size(), 1u);
  EXPECT_EQ(tested.wrong[0].region, "a");
  ASSERT_EQ(tested.untested.size(), 2u);
  for (const auto& failure : tested.untested) {
    EXPECT_EQ(failure.error.code, failure.region == "b" ? Code::kTimeout : Code::kInvalid);
  }
}

TEST_F(RegionsTestWraps, another_key_than_was_wrapped_is_wrong) {
  build_with_key();
  region[2]->fault.wrong_key = true;
  const size_t secrets = arena.usage().secrets;
  const auto tested = test();
  EXPECT_EQ(tested.good, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(tested.wrong.size(), 1u);
  EXPECT_EQ(tested.wrong[0].region, "c");
  EXPECT_EQ(arena.usage().secrets, secrets) << "nothing of the tests is left";
}

}  // namespace
}  // namespace keyfs
