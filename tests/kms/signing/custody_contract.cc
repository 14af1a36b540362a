#include "kms/signing/custody_contract.h"

#include <algorithm>
#include <utility>

#include "base/crypto.h"
#include "base/race.h"

namespace keyfs::testing {

std::string test_digest(size_t bytes, char fill) { return std::string(bytes, fill); }

std::string CustodyContract::create(const std::string& name, SigningKeyType type) {
  CreateKeyRequest request(name, type);
  auto made = loop().run_task(custody_->create(std::move(request), deadline()));
  if (!made) ADD_FAILURE() << made.error().message;
  return made.value_or("");
}

Result<PublicKeyPtr> CustodyContract::public_key(const std::string& key) {
  return loop().run_task(custody_->public_key(key, deadline()));
}

Result<Signature> CustodyContract::sign(const std::string& key, PublicKeyPtr public_key,
                                        SigningAlgorithm algorithm,
                                        std::optional<std::string> digest) {
  SignRequest request(key, std::move(public_key), algorithm,
                      digest.value_or(test_digest(digest_bytes(algorithm))));
  return loop().run_task(custody_->sign(std::move(request), deadline()));
}

Result<Pointed> CustodyContract::point(const std::string& name, const std::string& key,
                                       std::optional<std::string> from) {
  return loop().run_task(custody_->point(name, key, std::move(from), deadline()));
}

std::string CustodyContract::find(const std::string& name) {
  auto found = loop().run_task(custody_->find(name, deadline()));
  if (!found) {
    ADD_FAILURE() << found.error().message;
    return "?";
  }
  return *found ? (*found)->key : "";
}

std::string CustodyContract::make(const std::string& name, std::optional<std::string> from) {
  const std::string key = create(name);
  auto pointed = point(name, key, std::move(from));
  if (!pointed) {
    ADD_FAILURE() << pointed.error().message;
  } else {
    EXPECT_TRUE(pointed->done);
  }
  return key;
}

bool CustodyContract::signs(const std::string& key, PublicKeyPtr public_key) {
  const std::string digest = test_digest(32, '\x17');
  auto signature = sign(key, public_key, SigningAlgorithm::kEcdsaSha256, digest);
  if (!signature) return false;
  return public_key
      ->verify(SigningAlgorithm::kEcdsaSha256, bytes_of(digest), bytes_of(signature->bytes))
      .has_value();
}

TEST_P(CustodyContract, a_new_key_signs_and_gets_its_name) {
  std::string told;
  CreateKeyRequest request("ca", SigningKeyType::kEcP256);
  request.on_reference = [&](std::string key) -> Task<Result<void>> {
    told = std::move(key);
    co_return Result<void>();
  };
  const auto key = loop().run_task(custody_->create(std::move(request), deadline()));
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(told, *key);
  EXPECT_EQ(find("ca"), "");  // not yet
  const auto half = public_key(*key);
  ASSERT_TRUE(half) << half.error().message;
  EXPECT_EQ((*half)->type(), SigningKeyType::kEcP256);
  EXPECT_TRUE(signs(*key, *half));

  const auto pointed = point("ca", *key, std::nullopt);
  ASSERT_TRUE(pointed) << pointed.error().message;
  EXPECT_TRUE(pointed->done);
  EXPECT_EQ(find("ca"), *key);
  const auto other = under_test_->connect();
  const auto all = loop().run_task(other->list(deadline()));
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->front().name, "ca");
  EXPECT_EQ(all->front().key, *key);
  const auto again = loop().run_task(other->public_key(*key, deadline()));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->fingerprint(), (*half)->fingerprint());
}

TEST_P(CustodyContract, all_14_combinations_sign_and_all_others_are_refused_without_a_call) {
  size_t signatures = 0;
  for (const SigningKeyType type : kSigningKeyTypes) {
    const std::string name = "key-" + std::string(to_string(type));
    const std::string key = create(name, type);
    const auto half = public_key(key);
    ASSERT_TRUE(half) << half.error().message;
    ASSERT_EQ((*half)->type(), type);
    for (const SigningAlgorithm algorithm : kSigningAlgorithms) {
      SCOPED_TRACE(name + " " + std::string(to_string(algorithm)));
      const std::string digest = test_digest(digest_bytes(algorithm));
      const size_t before = under_test_->calls();
      const auto signature = sign(key, *half, algorithm, digest);
      if (!signs_with(type, algorithm)) {
        ASSERT_FALSE(signature);
        EXPECT_EQ(signature.error().code, Code::kInvalid);
        EXPECT_EQ(under_test_->calls(), before);
        continue;
      }
      ASSERT_TRUE(signature) << signature.error().message;
      ++signatures;
      EXPECT_TRUE((*half)->verify(algorithm, bytes_of(digest), bytes_of(signature->bytes)));
      std::string other = digest;
      other.back() ^= 1;
      EXPECT_FALSE((*half)->verify(algorithm, bytes_of(other), bytes_of(signature->bytes)));
    }
  }
  EXPECT_EQ(signatures, 14u);
}

TEST_P(CustodyContract, a_digest_of_another_length_is_refused_without_a_call) {
  const std::string key = create("ca");
  const auto half = public_key(key);
  ASSERT_TRUE(half) << half.error().message;
  const size_t before = under_test_->calls();
  for (const size_t bytes : {0, 31, 33, 48, 64}) {
    const auto signature = sign(key, *half, SigningAlgorithm::kEcdsaSha256, test_digest(bytes));
    ASSERT_FALSE(signature);
    EXPECT_EQ(signature.error().code, Code::kInvalid);
  }
  EXPECT_EQ(under_test_->calls(), before);
}

TEST_P(CustodyContract, a_signature_that_another_key_made_is_not_handed_out) {
  const std::string key = create("ca");
  const std::string other = create("other");
  const auto half = public_key(other);
  ASSERT_TRUE(half) << half.error().message;
  const auto signature = sign(key, *half);
  ASSERT_FALSE(signature);
  EXPECT_EQ(signature.error().code, Code::kCorrupt);
}

TEST_P(CustodyContract, an_old_key_signs_on_under_its_reference_after_its_name_moved) {
  const std::string first = make("ca");
  const auto half = public_key(first);
  ASSERT_TRUE(half) << half.error().message;
  const std::string second = make("ca", first);
  EXPECT_NE(first, second);
  EXPECT_EQ(find("ca"), second);
  EXPECT_TRUE(signs(first, *half));
  const auto other = public_key(second);
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_NE((*other)->fingerprint(), (*half)->fingerprint());
}

TEST_P(CustodyContract, a_name_that_somebody_else_moved_is_left_alone_and_told) {
  const std::string first = make("ca");
  const std::string second = make("ca", first);
  const std::string mine = create("ca");
  const auto late = point("ca", mine, first);
  ASSERT_TRUE(late) << late.error().message;
  EXPECT_FALSE(late->done);
  ASSERT_TRUE(late->now);
  EXPECT_EQ(late->now->key, second);
  EXPECT_EQ(find("ca"), second);

  const auto not_new = point("ca", mine, std::nullopt);
  ASSERT_TRUE(not_new) << not_new.error().message;
  EXPECT_FALSE(not_new->done);
  EXPECT_EQ(find("ca"), second);

  const auto refreshed = loop().run_task(custody_->keep_alive("ca", first, deadline()));
  ASSERT_TRUE(refreshed) << refreshed.error().message;
  EXPECT_FALSE(refreshed->done);
  EXPECT_EQ(find("ca"), second);
}

TEST_P(CustodyContract, a_name_that_refers_to_the_key_already_needs_no_move) {
  const std::string key = make("ca");
  const auto again = point("ca", key, std::nullopt);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->done);
  const auto alive = loop().run_task(custody_->keep_alive("ca", key, deadline()));
  ASSERT_TRUE(alive) << alive.error().message;
  EXPECT_TRUE(alive->done);
  EXPECT_EQ(find("ca"), key);
}

TEST_P(CustodyContract, a_move_of_a_name_that_is_gone_makes_none) {
  const std::string first = make("ca");
  const auto removed = loop().run_task(custody_->remove_name("ca", first, deadline()));
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(find("ca"), "");
  const std::string second = create("ca");
  const auto moved = point("ca", second, first);
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_FALSE(moved->done);
  EXPECT_FALSE(moved->now);
  EXPECT_EQ(find("ca"), "");
}

TEST_P(CustodyContract, a_name_is_removed_only_if_it_refers_to_that_key) {
  const std::string first = make("ca");
  const std::string second = make("ca", first);
  for (int i = 0; i < 2; ++i) {
    const auto other = loop().run_task(custody_->remove_name("ca", first, deadline()));
    EXPECT_TRUE(other);
    EXPECT_EQ(find("ca"), second);
  }
  for (int i = 0; i < 2; ++i) {
    const auto right = loop().run_task(custody_->remove_name("ca", second, deadline()));
    EXPECT_TRUE(right);
    EXPECT_EQ(find("ca"), "");
  }
}

TEST_P(CustodyContract, a_key_whose_deletion_is_scheduled_never_signs_again) {
  const std::string first = make("ca");
  const auto half = public_key(first);
  ASSERT_TRUE(half) << half.error().message;
  const std::string second = make("ca", first);
  for (int i = 0; i < 2; ++i) {
    const auto scheduled = loop().run_task(custody_->schedule_deletion("ca", first, deadline()));
    ASSERT_TRUE(scheduled) << scheduled.error().message;
  }
  const auto signature = sign(first, *half);
  ASSERT_FALSE(signature);
  EXPECT_EQ(signature.error().code, Code::kRevoked);
  const auto gone = public_key(first);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::kRevoked);
  const auto current = public_key(second);
  ASSERT_TRUE(current) << current.error().message;
  EXPECT_TRUE(signs(second, *current));
}

TEST_P(CustodyContract, a_new_key_that_got_no_name_can_be_deleted) {
  const std::string key = create("ca");
  const auto half = public_key(key);
  ASSERT_TRUE(half) << half.error().message;
  const auto scheduled = loop().run_task(custody_->schedule_deletion("ca", key, deadline()));
  ASSERT_TRUE(scheduled) << scheduled.error().message;
  const auto signature = sign(key, *half);
  ASSERT_FALSE(signature);
  EXPECT_EQ(signature.error().code, Code::kRevoked);
  EXPECT_EQ(find("ca"), "");
}

TEST_P(CustodyContract, a_disabled_key_does_not_sign_until_it_is_enabled) {
  const std::string key = make("ca");
  const auto half = public_key(key);
  ASSERT_TRUE(half) << half.error().message;
  const auto disabled = loop().run_task(custody_->set_enabled("ca", key, false, deadline()));
  ASSERT_TRUE(disabled) << disabled.error().message;
  const auto signature = sign(key, *half);
  ASSERT_FALSE(signature);
  EXPECT_EQ(signature.error().code, Code::kRevoked);
  const auto hidden = public_key(key);
  ASSERT_FALSE(hidden);
  EXPECT_EQ(hidden.error().code, Code::kRevoked);
  EXPECT_EQ(find("ca"), key);
  const auto enabled = loop().run_task(custody_->set_enabled("ca", key, true, deadline()));
  ASSERT_TRUE(enabled) << enabled.error().message;
  EXPECT_TRUE(signs(key, *half));
}

TEST_P(CustodyContract, names_that_look_alike_are_different_names) {
  const std::string dot = make("a.b");
  const std::string escaped = make("a_2eb");
  EXPECT_NE(dot, escaped);
  EXPECT_EQ(find("a.b"), dot);
  EXPECT_EQ(find("a_2eb"), escaped);
  EXPECT_EQ(find("a_b"), "");
  const auto all = loop().run_task(custody_->list(deadline()));
  ASSERT_TRUE(all) << all.error().message;
  std::vector<std::string> names;
  for (const NamedKey& one : *all) names.push_back(one.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"a.b", "a_2eb"}));
}

TEST_P(CustodyContract, what_cannot_be_a_name_is_refused_without_a_call) {
  const size_t before = under_test_->calls();
  for (const std::string& name : {std::string(), std::string(4000, 'x')}) {
    const auto good = custody_->check_name(name);
    ASSERT_FALSE(good);
    EXPECT_EQ(good.error().code, Code::kInvalid);
    CreateKeyRequest request(name, SigningKeyType::kEcP256);
    const auto made = loop().run_task(custody_->create(std::move(request), deadline()));
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kInvalid);
  }
  EXPECT_EQ(under_test_->calls(), before);
  EXPECT_TRUE(custody_->check_name("x509-CA-A"));
}

TEST_P(CustodyContract, what_is_kept_of_a_new_key_failing_ends_its_creation) {
  CreateKeyRequest request("ca", SigningKeyType::kEcP256);
  std::string told;
  request.on_reference = [&](std::string key) -> Task<Result<void>> {
    told = std::move(key);
    co_return fail(Code::kUnavailable, "no space left on device");
  };
  const auto key = loop().run_task(custody_->create(std::move(request), deadline()));
  ASSERT_FALSE(key);
  EXPECT_NE(key.error().message.find("no space left"), std::string::npos);
  EXPECT_NE(told, "");
  const auto scheduled = loop().run_task(custody_->schedule_deletion("ca", told, deadline()));
  EXPECT_TRUE(scheduled) << scheduled.error().message;
}

TEST_P(CustodyContract, dropped_calls_leave_a_custody_that_works) {
  const std::string key = make("ca");
  const auto half = public_key(key);
  ASSERT_TRUE(half) << half.error().message;
  for (int turns = 0; turns < 8; ++turns) {
    // Dropped with the group, wherever they are by then.
    TaskGroup<Result<Signature>> signing(loop());
    TaskGroup<Result<std::vector<NamedKey>>> listing(loop());
    TaskGroup<Result<std::optional<NamedKey>>> finding(loop());
    SignRequest request(key, *half, SigningAlgorithm::kEcdsaSha256, test_digest(32));
    signing.start(custody_->sign(std::move(request), deadline()));
    listing.start(custody_->list(deadline()));
    finding.start(custody_->find("ca", deadline()));
    for (int i = 0; i < turns; ++i) loop().turn(false);
  }
  EXPECT_TRUE(signs(key, *half));
  EXPECT_EQ(find("ca"), key);
}

TEST_P(CustodyContract, no_call_outlasts_its_deadline) {
  const auto listed = loop().run_task(custody_->list(loop().now()));
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code, Code::kTimeout);
}

}  // namespace keyfs::testing
