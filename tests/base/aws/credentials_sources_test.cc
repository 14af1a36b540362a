// Credentials of processes, containers and instances.
#include "base/aws/credentials_sources.h"

#include <signal.h>
#include <unistd.h>

#include "base/aws/credentials_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(Credentials, a_process_is_run_and_its_answer_taken) {
  write(".aws/config",
        "[default]\ncredential_process = echo '{\"Version\": 1, \"AccessKeyId\": \"AKIAP\", "
        "\"SecretAccessKey\": \"a\\/b\", \"SessionToken\": \"t\", \"Expiration\": "
        "\"2999-01-01T00:00:00+00:00\"}'\n");
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ((*got)->access_key_id, "AKIAP");
  EXPECT_EQ((*got)->secret_access_key.reveal_text(), "a/b");
  EXPECT_EQ(to_rfc3339(*(*got)->expires), "2999-01-01T00:00:00Z");
}

TEST_F(Credentials, what_goes_wrong_with_a_process_is_told_without_its_output) {
  for (const auto& [command, what] : std::map<std::string, std::string>{
           {"sh -c 'echo SECRET; exit 3'", "exited with code 3"},
           {"echo SECRET", "not JSON of Version 1"},
           {"echo '{\"Version\": 2}'", "not JSON of Version 1"},
           {"echo '{\"Version\": 1, \"AccessKeyId\": \"SECRET\"}'", "no secret access key"},
           {"sh -c 'kill -9 $$'", "killed by a signal"},
           {"head -c 100000 /dev/zero", "more than 64 KiB"},
           {"/nonexistent/SECRET", "cannot be started: No such file or directory"}}) {
    write(".aws/config", "[default]\ncredential_process = " + command + "\n");
    auto got = get();
    ASSERT_FALSE(got) << command;
    EXPECT_EQ(got.error().code, Code::kUnauthenticated) << command;
    EXPECT_THAT(got.error().message, HasSubstr(what));
    EXPECT_THAT(got.error().message, Not(HasSubstr("SECRET")));
  }
}

TEST_F(Credentials, a_process_that_hangs_holds_up_nobody_elses_credentials) {
  write(".aws/config", "[profile hangs]\ncredential_process = sh -c 'echo > " + home_ +
                           "/begun; sleep 1000'\n[profile keys]\n" + keys("AKIAKEYS"));
  AwsCredentialOptions named;
  named.profile = "hangs";
  const auto hangs = provider(named);
  named.profile = "keys";
  const auto other = provider(named);
  TaskGroup<Result<AwsCredentialsPtr>> group(loop_);
  group.start(hangs->get(loop_.now() + 20s));
  loop_.run_task([](Loop& loop, std::string path) -> Task<bool> {
    while (!std::filesystem::exists(path)) co_await loop.sleep_for(1ms);
    co_return true;
  }(loop_, home_ + "/begun"));
  auto got = get(*other);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ((*got)->access_key_id, "AKIAKEYS");
  EXPECT_EQ(group.size(), 1u);  // the other one still waits
}

TEST_F(Credentials, a_process_gets_its_words_as_they_are_quoted) {
  write("print",
        "#!/bin/sh\nprintf '{\"Version\": 1, \"AccessKeyId\": \"A%s\", "
        "\"SecretAccessKey\": \"%s\"}' \"$#\" \"$2\"\n");
  std::filesystem::permissions(home_ + "/print", std::filesystem::perms::owner_all);
  write(".aws/config",
        "[default]\ncredential_process = '" + home_ + "/print' one '#two;$HOME' three#3 ; four\n");
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ((*got)->access_key_id, "A5");
  EXPECT_EQ((*got)->secret_access_key.reveal_text(), "#two;$HOME");
}

TEST_F(Credentials, a_process_that_hangs_is_killed_with_its_children_at_the_deadline) {
  write(".aws/config", "[default]\ncredential_process = sh -c 'sleep 1000 & echo $! > " + home_ +
                           "/pid; sleep 1000'\n");
  const auto from = provider();
  Result<AwsCredentialsPtr> got = get(*from, 300ms);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kTimeout);
  int child = 0;
  std::ifstream(home_ + "/pid") >> child;
  ASSERT_GT(child, 0);
  const auto give_up = std::chrono::steady_clock::now() + 10s;
  while (kill(child, 0) == 0 && std::chrono::steady_clock::now() < give_up) usleep(10'000);
  EXPECT_NE(kill(child, 0), 0);
}

TEST_F(Credentials, a_container_is_asked_at_its_full_uri_with_its_token) {
  control("settings", R"({"ecs_token": "the token"})");
  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = part("KEYFS_TEST_ECS_URI");
  auto refused = get();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("authorization token"));
  environment_["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "the token";
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(issued(*got));
}

TEST_F(Credentials, pod_identity_reads_its_token_anew_each_time) {
  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = part("KEYFS_TEST_POD_URI");
  write("token", "pod token 1\n");
  environment_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = home_ + "/token";
  const auto from = provider();
  auto first = get(*from);
  ASSERT_TRUE(first) << first.error().message;
  control("settings", R"({"pod_token": "pod token 2"})");
  write("token", "pod token 2");
  from->refused(*first);
  auto second = get(*from);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_NE((*first)->access_key_id, (*second)->access_key_id);
}

TEST_F(Credentials, a_containers_plain_uri_must_be_one_of_its_own) {
  for (const char* uri :
       {"http://169.254.170.3/x", "http://evil.test/", "http://127.0.0.1.evil.test/",
        "ftp://127.0.0.1/", "http://[fd00:ec2::24]/"}) {
    environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = uri;
    auto got = get();
    ASSERT_FALSE(got) << uri;
    EXPECT_EQ(got.error().code, Code::kInvalid) << uri;
  }
}

TEST_F(Credentials, the_instance_is_asked_last_with_a_session_token) {
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(issued(*got));
  EXPECT_EQ(count("imds_token"), 1);
}

TEST_F(Credentials, a_failing_instance_is_asked_twice_and_then_told) {
  control("settings", R"({"fail": {"imds_token": 503}})");
  auto got = get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnavailable);
  EXPECT_THAT(got.error().message, HasSubstr("hop limit"));
  EXPECT_EQ(count("imds_token"), 2);
}

TEST_F(Credentials, with_the_instance_switched_off_the_message_lists_where_was_looked) {
  environment_["AWS_EC2_METADATA_DISABLED"] = "true";
  auto got = get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnauthenticated);
  EXPECT_THAT(got.error().message, HasSubstr("no AWS credentials"));
  EXPECT_EQ(count("imds_token"), 0);
}

}  // namespace
}  // namespace keyfs::testing
