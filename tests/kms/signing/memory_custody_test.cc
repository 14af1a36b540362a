// The custody that other tests use is one.
#include "support/memory_custody.h"

#include <gtest/gtest.h>

#include "kms/signing/custody_contract.h"
#include "support/fake_time.h"

namespace keyfs {
namespace {

class MemoryCustodyUnderTest final : public testing::CustodyUnderTest {
 public:
  Loop& loop() override { return time_.loop; }
  std::unique_ptr<Custody> connect() override {
    return std::make_unique<MemoryCustody>(time_.loop, keys_);
  }

 private:
  testing::FakeTimeLoop time_;
  std::shared_ptr<MemoryKeys> keys_ = std::make_shared<MemoryKeys>();
};

}  // namespace

namespace testing {
INSTANTIATE_TEST_SUITE_P(Memory, CustodyContract, ::testing::Values([] {
                           return std::unique_ptr<CustodyUnderTest>(
                               std::make_unique<MemoryCustodyUnderTest>());
                         }));
}  // namespace testing

namespace {

TEST(MemoryCustody, a_call_fails_before_or_after_it_took_effect) {
  testing::FakeTimeLoop time;
  const auto keys = std::make_shared<MemoryKeys>();
  MemoryCustody custody(time.loop, keys);
  const std::string key = keys->add(SigningKeyType::kEcP256, "KEY/example.org/ca", {});
  const TimePoint deadline = time.loop.now() + std::chrono::seconds(5);
  const Error lost(Code::kUnavailable, "lost");
  custody.fail("point", 1, MemoryCustody::When::kBefore, lost);
  custody.fail("point", 2, MemoryCustody::When::kAfter, lost);
  EXPECT_FALSE(time.loop.run_task(custody.point("ca", key, std::nullopt, deadline)));
  EXPECT_EQ(custody.key_of("ca"), "");
  EXPECT_EQ(keys->orphans().size(), 1u);
  EXPECT_FALSE(time.loop.run_task(custody.point("ca", key, std::nullopt, deadline)));
  EXPECT_EQ(custody.key_of("ca"), key);
  EXPECT_TRUE(time.loop.run_task(custody.point("ca", key, std::nullopt, deadline)));
  EXPECT_EQ(custody.count("point"), 3u);
  EXPECT_EQ(custody.most_at_once("point"), 1u);
}

}  // namespace
}  // namespace keyfs
