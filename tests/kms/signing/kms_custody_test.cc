#include "kms/signing/kms_custody.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kms/signing/kms_fixture.h"

namespace keyfs {
namespace testing {

INSTANTIATE_TEST_SUITE_P(Kms, CustodyContract, ::testing::Values([] {
                           return std::unique_ptr<CustodyUnderTest>(
                               std::make_unique<KmsUnderTest>(1));
                         }));
INSTANTIATE_TEST_SUITE_P(KmsInTwoRegions, CustodyContract, ::testing::Values([] {
                           return std::unique_ptr<CustodyUnderTest>(
                               std::make_unique<KmsUnderTest>(2));
                         }));

}  // namespace testing

namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Json = nlohmann::json;

class KmsCustodyTest : public ::testing::Test {
 protected:
  Result<std::string> create(const std::string& name = "ca") {
    CreateKeyRequest request(name, SigningKeyType::kEcP256);
    return run(custody_->create(std::move(request), kms_.soon()));
  }
  template <class T>
  T run(Task<T> task) {
    return kms_.loop().run_task(std::move(task));
  }

  testing::KmsUnderTest kms_;
  std::unique_ptr<Custody> custody_ = kms_.connect();
};

TEST_F(KmsCustodyTest, a_key_has_the_prefix_of_its_owner_his_tags_and_an_alias_as_spire_writes_it) {
  const auto key = create("x509-CA-A");
  ASSERT_TRUE(key) << key.error().message;
  ASSERT_TRUE(run(custody_->point("x509-CA-A", *key, std::nullopt, kms_.soon())));
  const Json keys = kms_.get("keys");
  ASSERT_EQ(keys.size(), 1u);
  EXPECT_EQ(keys[0]["arn"], *key);
  EXPECT_EQ(keys[0]["description"], "SPIRE_SERVER_KEY/example.org/x509-CA-A");
  EXPECT_EQ(keys[0]["tags"], Json::object({{"team", "pki"}}));
  EXPECT_EQ(keys[0]["aliases"], Json::array({"alias/SPIRE_SERVER/example_org/srv1/x509-CA-A"}));
  EXPECT_EQ(kms_.calls("ReplicateKey"), 0u);
}

TEST_F(KmsCustodyTest, all_pages_are_read_and_only_names_of_this_owner_given) {
  const std::string key = kms_.foreign_key("theirs", "");
  std::string other;
  const auto alias = [&](const std::string& name) {
    kms_.call(1, "CreateAlias", {{"AliasName", name}, {"TargetKeyId", key}});
  };
  for (int i = 0; i < 205; ++i) {
    // A key has at most 50.
    if (i % 41 == 0) other = kms_.foreign_key("theirs", "");
    kms_.call(1, "CreateAlias",
              {{"AliasName", "alias/aaa-" + std::to_string(i)}, {"TargetKeyId", other}});
  }
  for (const char* name :
       {"alias/SPIRE_SERVER/example_organic/srv1/x", "alias/SPIRE_SERVER/example_org/srv10/x",
        "alias/SPIRE_SERVER/example_org/srv1x", "alias/SPIRE_SERVER/example_org/srv1/deeper/x",
        "alias/SPIRE_SERVER/example_org/srv1/a_2eb", "alias/SPIRE_SERVER/example_org/srv1/ca"}) {
    alias(name);
  }
  const auto all = run(custody_->list(kms_.soon()));
  ASSERT_TRUE(all) << all.error().message;
  std::vector<std::string> names;
  for (const NamedKey& one : *all) {
    names.push_back(one.name);
    EXPECT_TRUE(one.refreshed);
    EXPECT_TRUE(one.key.ends_with(key)) << one.key;
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("a.b", "ca"));
  EXPECT_EQ(kms_.calls(), 3u);  // ListAliases alone
}

TEST_F(KmsCustodyTest, a_create_key_whose_answer_was_lost_is_not_sent_again) {
  for (const char* fault : {"close", "error"}) {
    kms_.post("reset");
    kms_.post("fault", {{"operation", "CreateKey"}, {"when", "after"}, {"do", fault}});
    const auto key = create();
    ASSERT_FALSE(key);
    EXPECT_THAT(key.error().message, HasSubstr("the outcome is unknown"));
    EXPECT_EQ(kms_.calls("CreateKey"), 1u);
  }
}

TEST_F(KmsCustodyTest, what_kms_throttles_is_sent_again) {
  for (const char* operation : {"CreateKey", "CreateAlias", "ListAliases", "Sign"}) {
    kms_.post("fault", {{"operation", operation}, {"error", "ThrottlingException"}, {"times", 2}});
  }
  const auto key = create();
  ASSERT_TRUE(key) << key.error().message;
  const auto pointed = run(custody_->point("ca", *key, std::nullopt, kms_.soon()));
  ASSERT_TRUE(pointed) << pointed.error().message;
  EXPECT_TRUE(pointed->done);
  const auto all = run(custody_->list(kms_.soon()));
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->size(), 1u);
  const auto half = run(custody_->public_key(*key, kms_.soon()));
  ASSERT_TRUE(half) << half.error().message;
  SignRequest request(*key, *half, SigningAlgorithm::kEcdsaSha256, testing::test_digest(32));
  const auto signature = run(custody_->sign(std::move(request), kms_.soon()));
  ASSERT_TRUE(signature) << signature.error().message;
  EXPECT_EQ(signature->region, kms_.region(1));
  const Json log = kms_.get("log");
  EXPECT_EQ(log.back()["request_id"], signature->request_id);
  EXPECT_EQ(kms_.get("orphans").size(), 0u);
}

TEST_F(KmsCustodyTest, a_move_whose_answer_was_lost_is_looked_at_and_done) {
  const auto first = create();
  const auto second = create();
  ASSERT_TRUE(first && second);
  kms_.post("fault", {{"operation", "CreateAlias"}, {"when", "after"}, {"do", "close"}});
  kms_.post("fault", {{"operation", "UpdateAlias"}, {"when", "after"}, {"do", "close"}});
  const auto made = run(custody_->point("ca", *first, std::nullopt, kms_.soon()));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(made->done);
  const auto moved = run(custody_->point("ca", *second, *first, kms_.soon()));
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_TRUE(moved->done);
  EXPECT_EQ(kms_.calls("CreateAlias"), 1u);
  EXPECT_EQ(kms_.calls("UpdateAlias"), 1u);
}

TEST_F(KmsCustodyTest, a_name_to_a_deleted_key_is_refused_and_one_of_it_is_still_a_name) {
  const auto key = create();
  ASSERT_TRUE(key);
  ASSERT_TRUE(run(custody_->point("ca", *key, std::nullopt, kms_.soon())));
  kms_.call(1, "ScheduleKeyDeletion", {{"KeyId", *key}});
  const auto named = run(custody_->find("ca", kms_.soon()));
  ASSERT_TRUE(named && *named);
  EXPECT_EQ((*named)->key, *key);
  EXPECT_EQ(kms_.state(*key), "PendingDeletion");
  const auto other = run(custody_->point("other", *key, std::nullopt, kms_.soon()));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Code::kRevoked);
}

TEST_F(KmsCustodyTest, a_key_that_never_was_is_revoked_and_its_deletion_done) {
  const std::string none =
      "arn:aws:kms:" + kms_.region(1) + ":111122223333:key/00000000-0000-0000-0000-000000000000";
  const auto half = run(custody_->public_key(none, kms_.soon()));
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, Code::kRevoked);
  EXPECT_TRUE(run(custody_->schedule_deletion("ca", none, kms_.soon())));
}

TEST_F(KmsCustodyTest, a_denied_operation_is_told_with_its_permission) {
  kms_.post("fault",
            {{"operation", "ListAliases"}, {"error", "AccessDeniedException"}, {"times", nullptr}});
  const auto all = run(custody_->list(kms_.soon()));
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, Code::kDenied);
  EXPECT_THAT(all.error().message, HasSubstr("kms:ListAliases"));
  EXPECT_EQ(kms_.calls("ListAliases"), 1u);
  const auto items = run(custody_->check(kms_.soon()));
  ASSERT_EQ(items.size(), 1u);
  EXPECT_FALSE(items[0].ok);
  EXPECT_THAT(items[0].remedy, HasSubstr("kms:ListAliases"));
}

TEST(MakeKmsCustody, prefixes_that_are_open_are_refused) {
  for (const bool alias : {true, false}) {
    KmsCustodyOptions options = testing::spire_options();
    std::string& prefix = alias ? options.alias_prefix : options.description_prefix;
    prefix.pop_back();
    std::vector<KmsSigningRegion> regions;
    KmsSigningRegion region;
    region.name = "us-east-1";
    regions.push_back(std::move(region));
    SystemClock clock;
    IdlePoller poller;
    Loop loop(clock, poller);
    const auto made = make_kms_custody(
        loop, [] { return 0.5; }, std::move(regions), std::move(options));
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kInvalid);
  }
}

}  // namespace
}  // namespace keyfs
