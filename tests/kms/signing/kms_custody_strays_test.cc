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
  // A creation of which nobody heard; the key's id.
  std::string unheard(const std::string& name, const std::string& token) {
    kms_.post("fault", {{"operation", "CreateKey"}, {"when", "after"}, {"do", "close"}});
    CreateKeyRequest request(name, SigningKeyType::kEcP256);
    request.token = token;
    const auto key = run(custody_->create(std::move(request), kms_.soon()));
    EXPECT_FALSE(key);
    for (const auto& one : kms_.get("keys?" + kms_.region(1))) {
      const std::string description = one["description"];
      if (description.starts_with("SPIRE_SERVER_KEY/example.org/" + name + "/" + token)) {
        return one["id"];
      }
    }
    return "";
  }
  // The id in the reference; empty: none is seen.
  std::string made(const std::string& name, const std::string& token) {
    const auto found = run(custody_->made(name, token, kms_.soon()));
    EXPECT_TRUE(found) << found.error().message;
    if (!found || !*found) return "";
    return (*found)->substr((*found)->rfind('/') + 1);
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
  const auto left = run(custody_->dispose(strays->front(), kms_.soon()));
  ASSERT_TRUE(left) << left.error().message;
  EXPECT_EQ(*left, Deletion::kLeftAlone);
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

TEST_F(KmsStraysTest, a_key_whose_reply_was_lost_is_found_by_its_token_alone) {
  const std::string mine = "0123456789abcdef";
  for (const char* description :
       {kOurs, "SPIRE_SERVER_KEY/example.org/ca/fedcba9876543210", "somebody else's",
        "SPIRE_SERVER_KEY/example.organic/ca/0123456789abcdef"}) {
    kms_.foreign_key(description, "");
  }
  EXPECT_EQ(made("ca", mine), "");
  EXPECT_EQ(kms_.calls("DescribeKey"), 4u);
  const std::string lost = unheard("ca", mine);
  ASSERT_NE(lost, "");
  EXPECT_EQ(made("jwt", mine), "");
  EXPECT_EQ(kms_.calls("DescribeKey"), 5u);  // what was looked at is remembered
  EXPECT_EQ(made("ca", mine), lost);
  EXPECT_EQ(kms_.calls("DescribeKey"), 5u);
  const auto reference = run(custody_->made("ca", mine, kms_.soon()));
  ASSERT_TRUE(reference && *reference);
  EXPECT_TRUE(run(custody_->schedule_deletion("ca", **reference, kms_.soon())));
  EXPECT_EQ(kms_.state(lost), "PendingDeletion");
  EXPECT_EQ(kms_.get("orphans").size(), 4u);
}

TEST_F(KmsStraysTest, a_key_with_a_token_is_disposed_of_as_one_without_a_name_where_none_looks) {
  const std::string lost = unheard("ca", "0123456789abcdef");
  std::vector<std::string> known;
  const auto strays = run(custody_->nameless_keys(created(lost) + 30s, known, kms_.soon()));
  ASSERT_TRUE(strays) << strays.error().message;
  ASSERT_EQ(strays->size(), 1u);
  EXPECT_TRUE(strays->front().key.ends_with(lost));
}

TEST_F(KmsStraysTest, who_may_not_look_for_keys_is_told_what_to_allow) {
  for (const char* operation : {"ListKeys", "DescribeKey"}) {
    kms_.post("reset");
    custody_ = kms_.connect();
    kms_.foreign_key(kOurs, "");
    kms_.post("fault", {{"operation", operation}, {"error", "AccessDeniedException"}});
    const auto found = run(custody_->made("ca", "0123456789abcdef", kms_.soon()));
    ASSERT_FALSE(found) << operation;
    EXPECT_EQ(found.error().code, Code::kDenied);
    EXPECT_THAT(found.error().message,
                ::testing::HasSubstr("allow kms:ListKeys and kms:DescribeKey"));
  }
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

TEST_F(KmsStraysTest, a_key_is_deleted_only_if_it_was_made_for_that_name_and_has_none) {
  KmsCustodyOptions options = testing::spire_options();
  options.former_description_prefix = "SPIRE_SERVER_KEY/example_org/";
  custody_ = kms_.connect(options);
  struct Case {
    const char* description;
    const char* alias;
    bool deleted;
  };
  const std::vector<Case> cases = {
      {"SPIRE_SERVER_KEY/example.org/ca", "", true},
      {"SPIRE_SERVER_KEY/example.org/ca/0123456789abcdef", "", false},  // whose?
      {"SPIRE_SERVER_KEY/example.org/ca/0123456789abcdef0000000000000000", "", false},
      {"SPIRE_SERVER_KEY/example_org/ca", "", true},  // as SPIRE's own plugin wrote it
      {"SPIRE_SERVER_KEY/example_org/ca/0123456789abcdef", "", false},
      {"SPIRE_SERVER_KEY/example.org/ca/0123456789abcdeX", "", false},
      {"SPIRE_SERVER_KEY/example.org/ca2", "", false},
      {"SPIRE_SERVER_KEY/example.org/jwt", "", false},
      {"SPIRE_SERVER_KEY/example.org/", "", false},
      {"SPIRE_SERVER_KEY/example.organic/ca", "", false},
      {"the key of the payroll", "", false},
      {"", "", false},
      {"SPIRE_SERVER_KEY/example.org/ca", "alias/payroll", false},
      {"SPIRE_SERVER_KEY/example.org/ca", "alias/SPIRE_SERVER/example_org/srv2/ca", false},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(std::string(one.description) + " " + one.alias);
    const std::string id = kms_.foreign_key(one.description, one.alias);
    const std::string key = "arn:aws:kms:" + kms_.region(1) + ":111122223333:key/" + id;
    const auto done = run(custody_->schedule_deletion("ca", key, kms_.soon()));
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(*done, one.deleted ? Deletion::kDone : Deletion::kLeftAlone);
    EXPECT_EQ(kms_.state(id), one.deleted ? "PendingDeletion" : "Enabled");
    if (*one.alias != '\0') kms_.call(1, "DeleteAlias", {{"AliasName", one.alias}});
  }
}

TEST_F(KmsStraysTest, a_key_that_the_name_still_refers_to_is_not_deleted) {
  const std::string id = kms_.foreign_key(kOurs, "alias/SPIRE_SERVER/example_org/srv1/ca");
  const std::string key = "arn:aws:kms:" + kms_.region(1) + ":111122223333:key/" + id;
  const auto refused = run(custody_->schedule_deletion("ca", key, kms_.soon()));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("refers to it"));
  EXPECT_EQ(kms_.state(id), "Enabled");
}

TEST_F(KmsStraysTest, an_alias_without_a_key_and_a_description_without_one_are_not_ours) {
  const std::string odd = kms_.foreign_key(kOurs, "alias/SPIRE_SERVER/example_org/srv16");
  const std::string empty = kms_.foreign_key("SPIRE_SERVER_KEY/example.org/", "");
  a_minute_passes();
  const std::string young = kms_.foreign_key(kOurs, "");
  const auto siblings = run(custody_->stale_siblings(created(young), kms_.soon()));
  ASSERT_TRUE(siblings && siblings->empty());
  std::vector<std::string> known;
  const auto nameless = run(custody_->nameless_keys(created(young), known, kms_.soon()));
  ASSERT_TRUE(nameless && nameless->empty());
  StrayKey stray;
  stray.alias = "alias/SPIRE_SERVER/example_org/srv16";
  stray.key = "arn:aws:kms:" + kms_.region(1) + ":111122223333:key/" + odd;
  EXPECT_FALSE(run(custody_->dispose(stray, kms_.soon())));
  stray.alias.clear();
  stray.key = "arn:aws:kms:" + kms_.region(1) + ":111122223333:key/" + empty;
  const auto left = run(custody_->dispose(stray, kms_.soon()));
  ASSERT_TRUE(left) << left.error().message;
  EXPECT_EQ(*left, Deletion::kLeftAlone);
  for (const std::string& id : {odd, empty, young}) EXPECT_EQ(kms_.state(id), "Enabled");
}

TEST_F(KmsStraysTest, a_key_with_a_replica_where_nobody_looks_is_left_alone) {
  const auto made = kms_.call(1, "CreateKey",
                              {{"KeySpec", "ECC_NIST_P256"},
                               {"KeyUsage", "SIGN_VERIFY"},
                               {"Description", kOurs},
                               {"MultiRegion", true}});
  const std::string key = made["KeyMetadata"]["Arn"];
  kms_.call(1, "ReplicateKey", {{"KeyId", key}, {"ReplicaRegion", kms_.region(2)}});
  kms_.expect_left_alone(*custody_, "ca", key);
  EXPECT_EQ(kms_.state(key), "Enabled");
}

TEST_F(KmsStraysTest, of_two_servers_with_keys_of_one_name_each_deletes_its_own) {
  KmsCustodyOptions options = testing::spire_options();
  options.alias_prefix = "alias/SPIRE_SERVER/example_org/srv2/";
  const auto theirs = kms_.connect(options);
  CreateKeyRequest request("ca", SigningKeyType::kEcP256);
  request.token = "0123456789abcdef";
  const auto key = run(theirs->create(std::move(request), kms_.soon()));
  ASSERT_TRUE(key) << key.error().message;
  const auto refused = run(custody_->schedule_deletion("ca", *key, kms_.soon()));
  ASSERT_TRUE(refused) << refused.error().message;
  EXPECT_EQ(*refused, Deletion::kLeftAlone);
  EXPECT_EQ(kms_.state(*key), "Enabled");
  const auto done = run(theirs->schedule_deletion("ca", *key, kms_.soon()));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(*done, Deletion::kDone);
  EXPECT_EQ(kms_.state(*key), "PendingDeletion");
}

TEST_F(KmsStraysTest, a_key_of_others_that_was_given_our_name_is_not_disabled) {
  const std::string id =
      kms_.foreign_key("the key of the payroll", "alias/SPIRE_SERVER/example_org/srv1/ca");
  const std::string key = "arn:aws:kms:" + kms_.region(1) + ":111122223333:key/" + id;
  const auto refused = run(custody_->set_enabled("ca", key, false, kms_.soon()));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("was not made for it here"));
  EXPECT_EQ(kms_.state(id), "Enabled");
}

}  // namespace
}  // namespace keyfs
