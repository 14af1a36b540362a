// What custody kms finds of what was left behind, and what it leaves alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kms/signing/kms_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using ::testing::UnorderedElementsAre;

constexpr const char* kOurs = "SPIRE_SERVER_KEY/example.org/ca";

class KmsStraysTest : public ::testing::Test {
 protected:
  template <class T>
  T run(Task<T> task) {
    return kms_.loop().run_task(std::move(task));
  }
  // By the double's clock.
  WallTime created(const std::string& id) {
    for (const auto& key : kms_.get("keys")) {
      if (key["id"] != id) continue;
      return WallTime(std::chrono::milliseconds(std::llround(key["created"].get<double>() * 1000)));
    }
    ADD_FAILURE() << "there is no key " << id;
    return {};
  }
  void a_minute_passes() { kms_.post("advance", {{"minutes", 1}}); }

  testing::KmsUnderTest kms_;
  std::unique_ptr<Custody> custody_ = kms_.connect();
};

TEST_F(KmsStraysTest, names_of_servers_of_the_same_domain_that_are_old_are_disposed_of) {
  const std::string stale = kms_.foreign_key(kOurs, "alias/SPIRE_SERVER/example_org/srv10/ca");
  const std::string disabled = kms_.foreign_key(kOurs, "alias/SPIRE_SERVER/example_org/srv2/off");
  kms_.call(1, "DisableKey", {{"KeyId", disabled}});
  const std::string foreign =
      kms_.foreign_key("somebody else's", "alias/SPIRE_SERVER/example_org/srv2/foreign");
  const std::string organic = kms_.foreign_key(kOurs, "alias/SPIRE_SERVER/example_organic/srv2/ca");
  const std::string own = kms_.foreign_key(kOurs, "alias/SPIRE_SERVER/example_org/srv1/ca");
  a_minute_passes();
  const std::string young = kms_.foreign_key(kOurs, "alias/SPIRE_SERVER/example_org/srv3/ca");
  const auto strays = run(custody_->stale_siblings(created(young), kms_.soon()));
  ASSERT_TRUE(strays) << strays.error().message;
  std::vector<std::string> found;
  for (const StrayKey& stray : *strays) {
    found.push_back(stray.alias);
    const auto gone = run(custody_->dispose(stray, kms_.soon()));
    EXPECT_TRUE(gone) << gone.error().message;
  }
  EXPECT_THAT(found, UnorderedElementsAre("alias/SPIRE_SERVER/example_org/srv10/ca",
                                          "alias/SPIRE_SERVER/example_org/srv2/off",
                                          "alias/SPIRE_SERVER/example_org/srv2/foreign"));
  EXPECT_EQ(kms_.state(stale), "PendingDeletion");
  for (const std::string& kept : {foreign, organic, own, young}) {
    EXPECT_EQ(kms_.state(kept), "Enabled");
  }
  EXPECT_EQ(kms_.state(disabled), "Disabled");
  EXPECT_EQ(kms_.calls("ScheduleKeyDeletion"), 1u);
  EXPECT_EQ(kms_.calls("DeleteAlias"), 1u);
}

TEST_F(KmsStraysTest, a_name_that_was_written_again_since_it_was_found_is_left_alone) {
  const std::string alias = "alias/SPIRE_SERVER/example_org/srv2/ca";
  const std::string key = kms_.foreign_key(kOurs, alias);
  a_minute_passes();
  const auto strays = run(custody_->stale_siblings(created(key) + 30s, kms_.soon()));
  ASSERT_TRUE(strays) << strays.error().message;
  ASSERT_EQ(strays->size(), 1u);
  kms_.call(1, "UpdateAlias", {{"AliasName", alias}, {"TargetKeyId", key}});
  EXPECT_TRUE(run(custody_->dispose(strays->front(), kms_.soon())));
  EXPECT_EQ(kms_.state(key), "Enabled");
  EXPECT_EQ(kms_.calls("DeleteAlias"), 0u);
}

TEST_F(KmsStraysTest, keys_without_a_name_are_ours_only_with_our_whole_prefix) {
  const std::string lost = kms_.foreign_key(kOurs, "");
  const std::string organic = kms_.foreign_key("SPIRE_SERVER_KEY/example.organic/ca", "");
  const std::string named = kms_.foreign_key(kOurs, "alias/whatever");
  const std::string disabled = kms_.foreign_key(kOurs, "");
  kms_.call(1, "DisableKey", {{"KeyId", disabled}});
  const auto symmetric = kms_.call(1, "CreateKey", {{"Description", kOurs}});
  a_minute_passes();
  const std::string young = kms_.foreign_key(kOurs, "");
  std::vector<std::string> known;
  const auto strays = run(custody_->nameless_keys(created(young), known, kms_.soon()));
  ASSERT_TRUE(strays) << strays.error().message;
  ASSERT_EQ(strays->size(), 1u);
  EXPECT_TRUE(strays->front().key.ends_with(lost));
  EXPECT_THAT(known,
              UnorderedElementsAre(organic, symmetric["KeyMetadata"]["KeyId"].get<std::string>()));
  EXPECT_EQ(kms_.calls("DescribeKey"), 5u);
  ASSERT_TRUE(run(custody_->nameless_keys(created(young), known, kms_.soon())));
  EXPECT_EQ(kms_.calls("DescribeKey"), 8u);  // what is known is not asked about again

  EXPECT_TRUE(run(custody_->dispose(strays->front(), kms_.soon())));
  EXPECT_EQ(kms_.state(lost), "PendingDeletion");
  for (const std::string& kept : {organic, named, young}) EXPECT_EQ(kms_.state(kept), "Enabled");
}

TEST_F(KmsStraysTest, a_key_that_got_a_name_since_it_was_found_is_left_alone) {
  const std::string lost = kms_.foreign_key(kOurs, "");
  std::vector<std::string> known;
  const auto strays = run(custody_->nameless_keys(created(lost) + 30s, known, kms_.soon()));
  ASSERT_TRUE(strays) << strays.error().message;
  ASSERT_EQ(strays->size(), 1u);
  kms_.call(1, "CreateAlias",
            {{"AliasName", "alias/SPIRE_SERVER/example_org/srv2/ca"}, {"TargetKeyId", lost}});
  EXPECT_TRUE(run(custody_->dispose(strays->front(), kms_.soon())));
  EXPECT_EQ(kms_.state(lost), "Enabled");
}

}  // namespace
}  // namespace keyfs
