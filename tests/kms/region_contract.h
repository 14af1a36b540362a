// What every kind of region must do. A kind is tested by one line in a test of its own:
//
//   INSTANTIATE_TEST_SUITE_P(Local, RegionContract, ::testing::Values(make_local_fixture));
//
// where make_local_fixture builds a working region with its surroundings; each test has a new one.
// Included once in a test program, since the tests are defined here.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "base/loop.h"
#include "base/race.h"
#include "base/secret.h"
#include "kms/region.h"
#include "kms/region_fixture.h"

namespace keyfs::testing {

class RegionContract : public ::testing::TestWithParam<MakeRegionFixture> {
 protected:
  void SetUp() override { fixture_ = GetParam()(); }

  Region& region() { return fixture_->region(); }
  TimePoint soon() { return fixture_->loop().now() + std::chrono::seconds(30); }

  Result<GeneratedKey> generate(size_t bytes = 32) {
    return fixture_->loop().run_task(region().generate(bytes, context, soon()));
  }
  Result<WrappedKey> wrap(const SecretBytes& key) {
    return fixture_->loop().run_task(region().wrap(key, context, soon()));
  }
  Result<SecretBytes> unwrap(const WrappedKey& wrapped) {
    return fixture_->loop().run_task(region().unwrap(wrapped, context, soon()));
  }
  void expect_corrupt(const WrappedKey& wrapped) {
    const auto key = unwrap(wrapped);
    ASSERT_FALSE(key) << "it was unwrapped all the same";
    EXPECT_EQ(key.error().code, Code::kCorrupt) << key.error().message;
  }

  EncryptionContext context = key_context("orders", 1);
  std::unique_ptr<RegionFixture> fixture_;
};

TEST_P(RegionContract, a_generated_key_has_the_size_asked_for_and_is_unwrapped_again) {
  for (const size_t bytes : {1, 16, 32, 64, 1024}) {
    auto generated = generate(bytes);
    ASSERT_TRUE(generated) << generated.error().message;
    EXPECT_EQ(generated->key.size(), bytes);
    auto key = unwrap(generated->wrapped);
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_TRUE(key->equals(generated->key.reveal()));
  }
}

TEST_P(RegionContract, two_generated_keys_differ) {
  auto one = generate();
  auto two = generate();
  ASSERT_TRUE(one && two);
  EXPECT_FALSE(one->key.equals(two->key.reveal()));
}

TEST_P(RegionContract, a_key_from_elsewhere_is_wrapped_and_unwrapped_again) {
  auto key = fixture_->arena().copy_of("a key that another region made!!");
  ASSERT_TRUE(key);
  auto wrapped = wrap(*key);
  ASSERT_TRUE(wrapped) << wrapped.error().message;
  auto again = unwrap(*wrapped);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->equals(key->reveal()));
}

TEST_P(RegionContract, the_wrap_does_not_show_the_key) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  const std::string plain(generated->key.reveal_text());
  EXPECT_EQ(generated->wrapped.blob.find(plain), std::string::npos);
}

TEST_P(RegionContract, it_names_its_master_and_unwraps_what_that_one_wrapped) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  EXPECT_FALSE(generated->wrapped.master.empty());
  EXPECT_TRUE(region().unwraps(generated->wrapped.master));
  EXPECT_FALSE(region().unwraps("no such master"));
  auto wrapped = wrap(generated->key);
  ASSERT_TRUE(wrapped);
  EXPECT_EQ(wrapped->master, generated->wrapped.master);
}

TEST_P(RegionContract, another_id_or_version_does_not_unwrap_it) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  context = key_context("payments", 1);
  expect_corrupt(generated->wrapped);
  context = key_context("orders", 2);
  expect_corrupt(generated->wrapped);
  context.clear();
  expect_corrupt(generated->wrapped);
}

TEST_P(RegionContract, an_id_of_any_allowed_characters_is_bound) {
  context = key_context("A.z_0:@+=,~-" + std::string(243, 'x'), 4294967295);
  auto generated = generate();
  ASSERT_TRUE(generated) << generated.error().message;
  EXPECT_TRUE(unwrap(generated->wrapped));
  context = key_context("A.z_0:@+=,~-" + std::string(242, 'x'), 4294967295);
  expect_corrupt(generated->wrapped);
}

TEST_P(RegionContract, a_changed_or_cut_blob_is_corrupt) {
  auto generated = generate();
  ASSERT_TRUE(generated);
  WrappedKey changed = generated->wrapped;
  changed.blob.back() ^= 1;
  expect_corrupt(changed);
  WrappedKey cut = generated->wrapped;
  cut.blob.resize(cut.blob.size() - 1);
  expect_corrupt(cut);
  cut.blob.resize(5);
  expect_corrupt(cut);
  cut.blob.clear();
  expect_corrupt(cut);
}

TEST_P(RegionContract, past_the_deadline_it_is_a_timeout) {
  const TimePoint past = fixture_->loop().now() - std::chrono::seconds(1);
  auto generated = fixture_->loop().run_task(region().generate(32, context, past));
  ASSERT_FALSE(generated);
  EXPECT_EQ(generated.error().code, Code::kTimeout);
}

TEST_P(RegionContract, a_key_of_no_bytes_is_our_mistake) {
  auto generated = generate(0);
  ASSERT_FALSE(generated);
  EXPECT_EQ(generated.error().code, Code::kInvalid);
  auto wrapped = wrap(SecretBytes());
  ASSERT_FALSE(wrapped);
  EXPECT_EQ(wrapped.error().code, Code::kInvalid);
}

TEST_P(RegionContract, calls_that_are_dropped_leave_no_trace) {
  const size_t secrets = fixture_->arena().usage().secrets;
  for (int turns = 0; turns < 4; ++turns) {
    TaskGroup<Result<GeneratedKey>> group(fixture_->loop());
    for (int i = 0; i < 10; ++i) group.start(region().generate(32, context, soon()));
    for (int turn = 0; turn < turns; ++turn) fixture_->loop().turn(false);
  }
  auto generated = generate();
  ASSERT_TRUE(generated) << generated.error().message;
  EXPECT_TRUE(unwrap(generated->wrapped));
  generated->key.reset();
  // What the region keeps for itself (a master, credentials) may have come.
  EXPECT_LE(fixture_->arena().usage().secrets, secrets + 5);
}

TEST_P(RegionContract, many_calls_at_once_each_get_their_own_answer) {
  const auto work = [&]() -> Task<int> {
    TaskGroup<Result<GeneratedKey>> group(fixture_->loop());
    for (int i = 0; i < 50; ++i) group.start(region().generate(32, context, soon()));
    int good = 0;
    while (auto one = co_await group.next()) {
      if (!one->value) continue;
      auto key = co_await region().unwrap(one->value->wrapped, context, soon());
      good += key && key->equals(one->value->key.reveal());
    }
    co_return good;
  };
  EXPECT_EQ(fixture_->loop().run_task(work()), 50);
}

TEST_P(RegionContract, keeping_warm_does_no_harm) {
  fixture_->loop().run_task(region().keep_warm());
  EXPECT_TRUE(generate());
}

TEST_P(RegionContract, check_of_a_sound_region_finds_nothing_wrong) {
  auto checked = fixture_->loop().run_task(region().check(soon()));
  EXPECT_FALSE(checked.master.empty());
  EXPECT_FALSE(checked.items.empty());
  for (const auto& item : checked.items) EXPECT_TRUE(item.ok) << item.what << ": " << item.detail;
}

}  // namespace keyfs::testing
