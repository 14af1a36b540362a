// How long credentials serve, and when they are asked for anew.
#include "base/aws/credentials_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(Credentials, many_askers_share_one_fetch_and_later_ones_need_none) {
  const auto from = provider();
  TaskGroup<Result<AwsCredentialsPtr>> group(loop_);
  for (int i = 0; i < 50; ++i) group.start(from->get(loop_.now() + 10s));
  while (!group.empty()) EXPECT_TRUE(loop_.run_task(group.next())->value);
  ASSERT_TRUE(get(*from));
  EXPECT_EQ(count("imds_token"), 1);
}

TEST_F(Credentials, near_their_end_they_are_renewed_in_the_background) {
  const auto from = provider();
  auto first = get(*from);
  ASSERT_TRUE(first);
  control("rotate", "{}");
  clock_.shift = 56min;
  clock_.since = 1min;
  auto while_renewing = get(*from);
  ASSERT_TRUE(while_renewing);
  EXPECT_EQ(*while_renewing, *first);  // nobody waits
  const auto give_up = std::chrono::steady_clock::now() + 10s;
  for (;;) {
    auto later = get(*from);
    ASSERT_TRUE(later);
    if (*later != *first) break;
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
    loop_.post([] {});
    loop_.turn(true);
  }
}

TEST_F(Credentials, when_renewal_fails_the_old_ones_serve_to_their_real_end_and_no_longer) {
  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = part("KEYFS_TEST_ECS_URI");
  const auto from = provider();
  auto first = get(*from);
  ASSERT_TRUE(first);
  control("settings", R"({"fail": {"ecs": 500}})");
  clock_.shift = 56min;
  for (int i = 0; i < 5; ++i) {
    clock_.since += 20s;
    auto still = get(*from);
    ASSERT_TRUE(still);
    EXPECT_EQ(*still, *first);
    loop_.post([] {});
    loop_.turn(true);
  }
  clock_.shift = 61min;
  clock_.since += 20s;
  EXPECT_FALSE(get(*from));
}

TEST_F(Credentials, expired_ones_of_the_instance_are_used_while_new_ones_are_asked_for) {
  std::vector<std::string> warnings;
  AwsCredentialOptions options;
  options.warn = [&](const std::string& message) { warnings.push_back(message); };
  const auto from = provider(std::move(options));
  auto first = get(*from);
  ASSERT_TRUE(first);
  EXPECT_TRUE(warnings.empty());
  // IMDS goes on giving the same, as it does while EC2 cannot renew them.
  clock_.shift = 12h;
  clock_.since = 1min;
  auto expired = get(*from);
  ASSERT_TRUE(expired) << expired.error().message;
  EXPECT_EQ((*expired)->access_key_id, (*first)->access_key_id);
  // Nor is there an end to it when IMDS itself is out.
  control("settings", R"({"fail": {"imds_token": 503}})");
  const auto asked = [&] { return count("imds_token"); };
  const int before = asked();
  clock_.since = 2min;
  expired = get(*from);
  ASSERT_TRUE(expired) << expired.error().message;
  const auto give_up = std::chrono::steady_clock::now() + 10s;
  while ((asked() < before + 2 || warnings.empty()) && std::chrono::steady_clock::now() < give_up) {
    loop_.post([] {});
    loop_.turn(true);
    usleep(1000);
  }
  ASSERT_FALSE(warnings.empty());
  EXPECT_THAT(warnings.back(), HasSubstr("stay in use until AWS refuses them"));
  // New ones are taken as soon as they are there.
  control("settings", R"({"fail": {}})");
  control("rotate", "{}");
  clock_.shift = {};
  clock_.since = 3min;
  from->refused(*expired);
  auto renewed = get(*from);
  ASSERT_TRUE(renewed) << renewed.error().message;
  EXPECT_NE((*renewed)->access_key_id, (*first)->access_key_id);
}

TEST_F(Credentials, expired_ones_from_a_source_are_not_given_out) {
  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = part("KEYFS_TEST_ECS_URI");
  control("settings", R"({"lifetime": -10})");
  auto got = get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnauthenticated);
  EXPECT_THAT(got.error().message, HasSubstr("expired at "));
}

TEST_F(Credentials, refused_ones_are_fetched_anew_once_for_all) {
  const auto from = provider();
  auto first = get(*from);
  ASSERT_TRUE(first);
  control("rotate", "{}");
  from->refused(*first);
  auto second = get(*from);
  ASSERT_TRUE(second);
  EXPECT_NE((*first)->access_key_id, (*second)->access_key_id);
  from->refused(*first);  // by one who is late
  EXPECT_EQ(*get(*from), *second);
  EXPECT_EQ(count("imds_token"), 2);
}

}  // namespace
}  // namespace keyfs::testing
