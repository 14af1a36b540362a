// Custody kms in two regions, of which one or both are out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kms/signing/kms_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

class KmsRegionsTest : public ::testing::Test {
 protected:
  template <class T>
  T run(Task<T> task) {
    return kms_.loop().run_task(std::move(task));
  }
  Result<std::string> create(Duration within, const std::string& name = "ca") {
    CreateKeyRequest request(name, SigningKeyType::kEcP256);
    return run(custody_->create(std::move(request), kms_.loop().now() + within));
  }
  std::string make(const std::string& name = "ca") {
    auto key = create(30s, name);
    if (!key) {
      ADD_FAILURE() << key.error().message;
      return "";
    }
    const auto pointed = run(custody_->point(name, *key, std::nullopt, kms_.soon()));
    EXPECT_TRUE(pointed && pointed->done);
    return *key;
  }
  PublicKeyPtr public_key(const std::string& key) {
    auto half = run(custody_->public_key(key, kms_.soon()));
    if (!half) ADD_FAILURE() << half.error().message;
    return half ? *half : nullptr;
  }
  Result<Signature> sign(const std::string& key, PublicKeyPtr half, Duration within = 20s) {
    SignRequest request(key, std::move(half), SigningAlgorithm::kEcdsaSha256,
                        testing::test_digest(32));
    return run(custody_->sign(std::move(request), kms_.loop().now() + within));
  }
  void out(size_t n, const std::string& how) {
    kms_.post("out", {{"region", kms_.region(n)}, {"how", how}});
  }

  testing::KmsUnderTest kms_{2};
  std::unique_ptr<Custody> custody_ = kms_.connect();
};

TEST_F(KmsRegionsTest, a_key_and_its_name_are_in_every_region) {
  kms_.post("creating", {{"seconds", 0.3}});
  const std::string key = make();
  EXPECT_EQ(kms_.state(key, 1), "Enabled");
  EXPECT_EQ(kms_.state(key, 2), "Enabled");
  for (const auto& row : kms_.get("keys")) {
    EXPECT_EQ(row["aliases"].size(), 1u) << row;
    EXPECT_EQ(row["tags"].size(), 1u) << row;
    EXPECT_EQ(row["description"], "SPIRE_SERVER_KEY/example.org/ca");
  }
}

TEST_F(KmsRegionsTest, signing_goes_on_while_one_region_is_out_and_a_start_finds_the_name) {
  const std::string key = make();
  const auto half = public_key(key);
  ASSERT_TRUE(half);
  for (const char* how : {"refuse", "hang"}) {
    out(1, how);
    const TimePoint begin = kms_.loop().now();
    const auto signature = sign(key, half);
    ASSERT_TRUE(signature) << signature.error().message;
    EXPECT_EQ(signature->region, kms_.region(2));
    EXPECT_LT(kms_.loop().now() - begin, 5s);
    const auto fresh = kms_.connect();
    const auto all = run(fresh->list(kms_.loop().now() + 2s));
    ASSERT_TRUE(all) << all.error().message;
    ASSERT_EQ(all->size(), 1u);
    EXPECT_EQ(all->front().key, key);
    const auto found = run(fresh->find("ca", kms_.loop().now() + 2s));
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->key, key);
    kms_.post("heal");
  }
}

TEST_F(KmsRegionsTest, with_all_regions_silent_a_signature_fails_by_its_deadline) {
  const std::string key = make();
  const auto half = public_key(key);
  ASSERT_TRUE(half);
  out(1, "hang");
  out(2, "hang");
  const TimePoint begin = kms_.loop().now();
  const auto signature = sign(key, half, 1s);
  ASSERT_FALSE(signature);
  EXPECT_EQ(signature.error().code, Code::kTimeout);
  EXPECT_LT(kms_.loop().now() - begin, 3s);
}

TEST_F(KmsRegionsTest, a_key_is_revoked_only_if_no_region_signs_with_it) {
  const std::string key = make();
  const auto half = public_key(key);
  ASSERT_TRUE(half);
  kms_.call(1, "DisableKey", {{"KeyId", key}});
  const auto elsewhere = sign(key, half);
  ASSERT_TRUE(elsewhere) << elsewhere.error().message;
  EXPECT_EQ(elsewhere->region, kms_.region(2));
  ASSERT_TRUE(run(custody_->set_enabled("ca", key, false, kms_.soon())));
  EXPECT_EQ(kms_.state(key, 2), "Disabled");
  const auto revoked = sign(key, half);
  ASSERT_FALSE(revoked);
  EXPECT_EQ(revoked.error().code, Code::kRevoked);
  // That one region is out changes nothing: the other one is certain.
  out(1, "refuse");
  const auto still = sign(key, half);
  ASSERT_FALSE(still);
  EXPECT_EQ(still.error().code, Code::kRevoked);
}

TEST_F(KmsRegionsTest, what_is_wrong_with_one_key_closes_no_region_to_the_others) {
  const std::string key = make();
  const auto half = public_key(key);
  ASSERT_TRUE(half);
  for (const char* error : {"AccessDeniedException", "DisabledException"}) {
    for (const size_t n : {1u, 2u}) {
      kms_.post("fault", {{"operation", "Sign"},
                          {"region", kms_.region(n)},
                          {"error", error},
                          {"times", nullptr}});
    }
    EXPECT_FALSE(sign(key, half)) << error;
    kms_.post("heal");
    // At once, in the first region and in the other one.
    for (const size_t out_now : {2u, 1u}) {
      out(out_now, "refuse");
      const auto signature = sign(key, half, 1s);
      ASSERT_TRUE(signature) << error << ": " << signature.error().message;
      EXPECT_EQ(signature->region, kms_.region(3 - out_now));
      kms_.post("heal");
      custody_ = kms_.connect();
    }
  }
}

TEST_F(KmsRegionsTest, a_region_that_is_out_keeps_no_key_from_being_made_and_is_mended_later) {
  kms_.post("fault",
            {{"operation", "ReplicateKey"}, {"error", "KMSInternalException"}, {"times", nullptr}});
  const auto key = create(3s);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(kms_.state(*key, 2), "");
  const auto pointed = run(custody_->point("ca", *key, std::nullopt, kms_.loop().now() + 3s));
  ASSERT_TRUE(pointed && pointed->done);
  kms_.post("heal");
  const auto later = kms_.connect();  // to which the key is not new
  const auto alive = run(later->keep_alive("ca", *key, kms_.soon()));
  ASSERT_TRUE(alive && alive->done);
  EXPECT_EQ(kms_.state(*key, 2), "Enabled");
  out(1, "refuse");
  const auto found = run(later->find("ca", kms_.soon()));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->key, *key);
}

TEST_F(KmsRegionsTest, a_key_is_deleted_with_its_replicas) {
  const std::string key = make();
  ASSERT_TRUE(run(custody_->remove_name("ca", key, kms_.soon())));
  for (const auto& row : kms_.get("keys")) EXPECT_TRUE(row["aliases"].empty()) << row;
  out(2, "refuse");
  EXPECT_FALSE(run(custody_->schedule_deletion("ca", key, kms_.loop().now() + 2s)));
  kms_.post("heal");
  for (int i = 0; i < 2; ++i) {
    const auto done = run(custody_->schedule_deletion("ca", key, kms_.soon()));
    ASSERT_TRUE(done) << done.error().message;
  }
  EXPECT_EQ(kms_.state(key, 2), "PendingDeletion");
  EXPECT_THAT(kms_.state(key, 1), ::testing::AnyOf("PendingReplicaDeletion", "PendingDeletion"));
}

TEST_F(KmsRegionsTest, a_region_that_did_not_hear_of_a_move_is_told_and_not_believed) {
  const std::string old = make();
  out(2, "refuse");
  const auto key = create(3s);
  ASSERT_TRUE(key) << key.error().message;
  const auto pointed = run(custody_->point("ca", *key, old, kms_.loop().now() + 3s));
  ASSERT_TRUE(pointed && pointed->done);
  EXPECT_EQ(pointed->behind, kms_.region(2));
  kms_.post("heal");

  // It answers, and the first one does not: to this process, and to one that was told what is known.
  const auto told = kms_.connect();
  told->remember("ca", *key);
  told->remember("new", *key);  // of which it never heard
  out(1, "hang");
  for (Custody* one : {custody_.get(), told.get()}) {
    const auto found = run(one->find("ca", kms_.loop().now() + 2s));
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->key, *key);
    const auto all = run(one->list(kms_.loop().now() + 2s));
    ASSERT_TRUE(all) << all.error().message;
    EXPECT_EQ(all->size(), one == told.get() ? 2u : 1u);
    EXPECT_EQ(all->front().key, *key);
    EXPECT_FALSE(run(one->find_decided("ca", kms_.loop().now() + 1s)));
  }
  kms_.post("heal");

  const auto alive = run(custody_->keep_alive("ca", *key, kms_.soon()));
  ASSERT_TRUE(alive && alive->done);
  EXPECT_EQ(alive->behind, "");
  const auto fresh = kms_.connect();
  out(1, "refuse");
  const auto found = run(fresh->find("ca", kms_.soon()));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->key, *key);
}

TEST_F(KmsRegionsTest, what_the_first_region_says_is_believed_over_what_was_known) {
  const std::string key = make();
  const auto other = kms_.connect();
  other->remember("ca", "arn:aws:kms:us-east-1:111122223333:key/mrk-0");
  other->remember("gone", key);
  for (int i = 0; i < 2; ++i) {
    const auto found = run(other->find("ca", kms_.soon()));
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->key, key);
    const auto gone = run(other->find("gone", kms_.soon()));
    ASSERT_TRUE(gone);
    EXPECT_FALSE(*gone);
    out(1, "refuse");  // and from then on
  }
}

TEST_F(KmsRegionsTest, a_key_to_which_a_name_refers_somewhere_is_not_deleted_until_that_is_mended) {
  const std::string old = make();
  out(2, "refuse");
  const auto key = create(3s);
  ASSERT_TRUE(key) << key.error().message;
  ASSERT_TRUE(run(custody_->point("ca", *key, old, kms_.loop().now() + 3s)));
  EXPECT_FALSE(run(custody_->schedule_deletion("ca", old, kms_.loop().now() + 2s)));
  EXPECT_EQ(kms_.state(old, 1), "Enabled");
  kms_.post("heal");
  const auto done = run(kms_.connect()->schedule_deletion("ca", old, kms_.soon()));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(*done, Deletion::kDone);
  EXPECT_EQ(kms_.state(old, 2), "PendingDeletion");
  out(1, "refuse");
  const auto found = run(kms_.connect()->find("ca", kms_.soon()));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->key, *key);
}

TEST_F(KmsRegionsTest, a_key_whose_replica_has_another_name_is_somebodys) {
  const std::string key = make();
  ASSERT_TRUE(run(custody_->remove_name("ca", key, kms_.soon())));
  const std::string id = key.substr(key.rfind('/') + 1);
  kms_.call(2, "CreateAlias",
            {{"AliasName", "alias/SPIRE_SERVER/example_org/srv2/ca"}, {"TargetKeyId", id}});
  kms_.expect_left_alone(*custody_, "ca", key);
  for (const size_t n : {1u, 2u}) EXPECT_EQ(kms_.state(key, n), "Enabled");
}

TEST_F(KmsRegionsTest, a_name_that_cannot_be_refreshed_in_one_region_is_in_the_other) {
  const std::string key = make();
  const size_t before = kms_.calls("UpdateAlias");
  kms_.post("fault", {{"operation", "UpdateAlias"},
                      {"region", kms_.region(1)},
                      {"error", "AccessDeniedException"},
                      {"times", nullptr}});
  EXPECT_FALSE(run(custody_->keep_alive("ca", key, kms_.soon())));
  EXPECT_EQ(kms_.calls("UpdateAlias") - before, 2u);
}

TEST_F(KmsRegionsTest, a_region_that_has_heard_of_a_later_move_is_believed) {
  const std::string old = make();
  const auto key = create(30s);
  ASSERT_TRUE(key) << key.error().message;
  ASSERT_TRUE(run(custody_->point("ca", *key, old, kms_.soon())));
  ASSERT_TRUE(run(custody_->schedule_deletion("ca", old, kms_.soon())));
  // To a host that was away meanwhile, and comes back while the first region is out.
  out(1, "refuse");
  const auto late = kms_.connect();
  late->remember("ca", old);
  const auto found = run(late->find("ca", kms_.soon()));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->key, *key);
  const auto all = run(late->list(kms_.soon()));
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->front().key, *key);
}

}  // namespace
}  // namespace keyfs
