// Which keys are known, and signing with them.
#include "fs/sign/signing_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::SigningHost;
using When = MemoryCustody::When;

class SigningRegistryTest : public testing::SigningTest {
 protected:
  Task<void> load(SigningKeys& signing) { (void)co_await signing.load(soon()); }
  Task<void> sign_into(SigningKeys& signing, DigestRequest one,
                       std::vector<Result<SigningKeys::SignOutcome>>& out) {
    out.push_back(co_await signing.sign(std::move(one)));
  }
};

TEST_F(SigningRegistryTest, absence_is_asked_for_once_and_believed_for_a_second) {
  auto one = host();
  std::vector<Result<SigningKeys::SignOutcome>> out;
  for (int i = 0; i < 100; ++i) one->start(sign_into(*one->signing, request("ca"), out));
  wait(100ms);
  ASSERT_EQ(out.size(), 100u);
  for (const auto& outcome : out) {
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_TRUE(!outcome->done && !outcome->stale);
  }
  EXPECT_EQ(custody.count("find"), 1u);
  EXPECT_FALSE(sign(*one, "ca")->done);
  EXPECT_EQ(custody.count("find"), 1u);
  make_named("ca");
  wait(1s);
  expect_right_key(*one, "ca");
}

TEST_F(SigningRegistryTest, who_names_ever_other_ids_makes_few_calls) {
  auto one = loaded_host();
  size_t throttled = 0;
  for (int i = 0; i < 500; ++i) {
    const auto outcome = sign(*one, "guess" + std::to_string(i));
    if (!outcome && outcome.error().code == Code::kThrottled) ++throttled;
  }
  EXPECT_LE(custody.count("find"), 45u);
  EXPECT_EQ(throttled + custody.count("find"), 500u);
}

TEST_F(SigningRegistryTest, an_old_answer_signs_on_and_is_renewed_behind_the_signature) {
  make_named("ca");
  auto one = loaded_host();
  wait(options.fresh_for);
  block("find");
  expect_right_key(*one, "ca");
  until_running("find");
  expect_right_key(*one, "ca");
  EXPECT_EQ(custody.count("find"), 1u);
  open();
  wait(1s);
  expect_right_key(*one, "ca");
  EXPECT_EQ(custody.count("find"), 1u);  // it is fresh again
}

TEST_F(SigningRegistryTest, while_nobody_answers_it_is_renewed_once_in_a_while_and_signs_on) {
  make_named("ca");
  auto one = loaded_host();
  custody.fail_always("find", Error(Code::kUnavailable, "out"));
  wait(options.fresh_for);
  for (int i = 0; i < 50; ++i) {
    expect_right_key(*one, "ca");
    wait(1s);
  }
  EXPECT_LE(custody.count("find"), 2u);
}

TEST_F(SigningRegistryTest, a_pinned_key_that_is_no_longer_current_is_stale) {
  make_named("ca");
  auto one = loaded_host();
  const std::string pinned = one->signing->find("ca")->public_key->fingerprint();
  EXPECT_TRUE(sign(*one, "ca", pinned)->done);
  make_named("ca");
  one->signing->doubt("ca");
  const auto outcome = sign(*one, "ca", pinned);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->stale);
  EXPECT_FALSE(outcome->done);
  expect_right_key(*one, "ca");
}

TEST_F(SigningRegistryTest, a_new_fingerprint_is_looked_for_before_it_is_called_stale) {
  make_named("ca");
  auto one = loaded_host();
  const std::string now = make_named("ca");
  wait(options.fresh_for);
  const std::string pinned = keys->keys.at(now).public_key->fingerprint();
  EXPECT_TRUE(sign(*one, "ca", pinned)->done);
}

TEST_F(SigningRegistryTest, a_deleted_key_whose_name_has_moved_signs_with_the_new_one) {
  const std::string old = make_named("ca");
  auto one = loaded_host();
  const std::string pinned = one->signing->find("ca")->public_key->fingerprint();
  keys->keys.at(old).deletion = time.clock.wall();
  make_named("ca");
  auto other = loaded_host();
  EXPECT_TRUE(sign(*one, "ca", pinned)->stale);
  expect_right_key(*one, "ca");
  expect_right_key(*other, "ca");
}

TEST_F(SigningRegistryTest, a_disabled_key_is_told_as_that_without_more_calls) {
  const std::string key = make_named("ca");
  auto one = loaded_host();
  keys->keys.at(key).enabled = false;
  EXPECT_EQ(sign(*one, "ca").error().code, Code::kRevoked);
  const size_t calls = custody.log().size();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(sign(*one, "ca").error().code, Code::kRevoked);
  EXPECT_EQ(custody.log().size(), calls);
  EXPECT_EQ(one->signing->status().keys.at(0).state, "disabled");
  keys->keys.at(key).enabled = true;
  wait(options.fresh_for);
  (void)sign(*one, "ca");
  wait(1s);
  expect_right_key(*one, "ca");
}

TEST_F(SigningRegistryTest, a_start_asks_for_each_public_key_once_and_never_again) {
  for (int i = 0; i < 20; ++i) make_named("ca" + std::to_string(i));
  options.starts_at_once = 4;
  auto one = host();
  block("public_key");
  one->start(load(*one->signing));
  for (int i = 0; custody.running("public_key") < 4 && i < 1000; ++i) wait(1ms);
  wait(50ms);
  EXPECT_EQ(custody.running("public_key"), 4u);
  open();
  wait(1s);
  EXPECT_EQ(custody.count("list"), 1u);
  EXPECT_EQ(custody.count("public_key"), 20u);
  EXPECT_EQ(custody.most_at_once("public_key"), 4u);
  EXPECT_EQ(one->signing->all().size(), 20u);
  one.reset();
  custody.forget_log();
  one = loaded_host();
  EXPECT_EQ(custody.log(), std::vector<std::string>{"list"});
  expect_right_key(*one, "ca7");
}

TEST_F(SigningRegistryTest, a_damaged_public_key_on_disk_counts_as_not_there) {
  make_named("ca");
  loaded_host().reset();
  for (const auto& file : std::filesystem::directory_iterator(options.directory + "/public")) {
    std::ofstream(file.path(), std::ios::trunc) << "{\"key\":";
    EXPECT_EQ(file.status().permissions() & std::filesystem::perms::mask,
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
  custody.forget_log();
  auto one = loaded_host();
  EXPECT_EQ(custody.count("public_key"), 1u);
  expect_right_key(*one, "ca");
}

TEST_F(SigningRegistryTest, a_disabled_and_an_unknown_key_do_not_stop_the_start) {
  make_named("good");
  keys->keys.at(make_named("off")).enabled = false;
  keys->names["example_org/srv1/gone"] = MemoryKeys::Name{"arn:of:nothing", time.clock.wall()};
  auto one = loaded_host();
  expect_right_key(*one, "good");
  const SigningStatus status = one->signing->status();
  ASSERT_EQ(status.keys.size(), 3u);
  EXPECT_EQ(status.keys[0].id, "gone");
  EXPECT_NE(status.keys[0].problem, "");
  EXPECT_EQ(status.keys[1].state, "enabled");
  EXPECT_EQ(status.keys[2].state, "disabled");
}

TEST_F(SigningRegistryTest, names_that_others_moved_or_removed_are_noticed_by_the_next_list) {
  make_named("ca");
  make_named("jwt");
  auto one = loaded_host();
  one->run_behind();
  const std::string now = make_named("ca");
  keys->names.erase("example_org/srv1/jwt");
  wait(2 * options.list_every);
  EXPECT_EQ(one->signing->find("ca")->key, now);
  EXPECT_EQ(one->signing->find("jwt"), nullptr);
  EXPECT_TRUE(log.has("moved to another key by another process"));
  expect_right_key(*one, "ca");
}

TEST_F(SigningRegistryTest, a_custody_that_does_not_answer_keeps_its_keys_and_holds_up_no_other) {
  auto others = std::make_shared<MemoryKeys>();
  MemoryCustodyOptions wrapped;
  wrapped.kind = "wrapped";
  MemoryCustody second(loop, others, wrapped);
  make_named("ca");
  SigningHost one(*this, options, {&custody, &second});
  ASSERT_TRUE(run(one->load(soon())).has_value());
  others->names["example_org/srv1/jwt"] = MemoryKeys::Name{
      others->add(SigningKeyType::kEcP256, "KEY/example.org/jwt", time.clock.wall()),
      time.clock.wall()};
  custody.fail_always("list", Error(Code::kUnavailable, "out"));
  EXPECT_TRUE(run(one->load(soon())).has_value());
  EXPECT_NE(one->find("ca"), nullptr);
  EXPECT_NE(one->find("jwt"), nullptr);
  // "Unknown" is not "none": the first custody might have it.
  custody.fail_always("find", Error(Code::kUnavailable, "out"));
  EXPECT_EQ(sign(one, "tls").error().code, Code::kUnavailable);
  second.fail_always("list", Error(Code::kUnavailable, "out"));
  EXPECT_FALSE(run(one->load(soon())).has_value());
}

TEST_F(SigningRegistryTest, other_digests_and_algorithms_are_refused_without_a_call) {
  make_named("ca");
  auto one = loaded_host();
  DigestRequest wrong("ca", "", SigningAlgorithm::kRsaPssSha256, digest(), soon());
  EXPECT_EQ(run(one->signing->sign(wrong)).error().code, Code::kInvalid);
  DigestRequest shorter("ca", "", SigningAlgorithm::kEcdsaSha256, "short", soon());
  EXPECT_EQ(run(one->signing->sign(shorter)).error().code, Code::kInvalid);
  EXPECT_EQ(custody.count("sign"), 0u);
}

TEST_F(SigningRegistryTest, a_directory_that_others_may_write_is_refused) {
  loaded_host().reset();
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(options.directory).permissions(), perms::owner_all);
  std::filesystem::permissions(options.directory, perms::all);
  SigningKeys::Parts parts{loop, log.log(), [] { return 0.5; }, {&custody}};
  const auto opened = SigningKeys::open(std::move(parts), options);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, Code::kDenied);
}

TEST_F(SigningRegistryTest, a_call_that_hangs_ends_by_the_deadline) {
  auto one = host();
  block("find");
  const TimePoint begin = loop.now();
  DigestRequest hurried("ca", "", SigningAlgorithm::kEcdsaSha256, digest(), begin + 2s);
  EXPECT_EQ(run(one->signing->sign(hurried)).error().code, Code::kTimeout);
  EXPECT_LE(loop.now() - begin, 2s + 100ms);
  open();
}

}  // namespace
}  // namespace keyfs
