// Against real endpoints of IMDS, ECS, EKS Pod Identity and STS (tests/support/credentials.py).
#include "base/aws/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/aws/credentials_sources.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A fixed clock apart from now(), so that credentials can be made to age.
class ShiftedClock final : public Clock {
 public:
  TimePoint now() const override { return real_.now() + since; }
  WallTime wall() const override {
    return real_.wall() + std::chrono::duration_cast<std::chrono::milliseconds>(shift);
  }
  Duration shift{};
  Duration since{};

 private:
  SystemClock real_;
};

std::string part(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class Credentials : public ::testing::Test {
 protected:
  void SetUp() override {
    if (part("KEYFS_TEST_CREDENTIALS").empty()) GTEST_SKIP() << "run me by with_credentials.py";
    char pattern[] = "/tmp/keyfs-credentials-XXXXXX";
    home_ = mkdtemp(pattern);
    std::filesystem::create_directory(home_ + "/.aws");
    http_ = *HttpClient::create(loop_, poller_, arena_, {});
    control("reset", "{}");
    environment_ = {{"HOME", home_},
                    {"AWS_ENDPOINT_URL_STS", part("KEYFS_TEST_CREDENTIALS")},
                    {"AWS_EC2_METADATA_SERVICE_ENDPOINT", part("KEYFS_TEST_CREDENTIALS")}};
  }
  void TearDown() override {
    if (!home_.empty()) std::filesystem::remove_all(home_);
  }

  nlohmann::json control(const std::string& verb, const std::string& body) {
    HttpRequest request("POST", part("KEYFS_TEST_CREDENTIALS_CONTROL") + "/" + verb,
                        loop_.now() + 10s);
    request.body = body;
    auto response = loop_.run_task(http_->send(std::move(request)));
    EXPECT_TRUE(response && response->status == 200);
    return nlohmann::json::parse(response->body, nullptr, false);
  }
  int count(const std::string& endpoint) {
    const auto counts = control("counts", "{}");
    return counts.contains(endpoint) ? counts[endpoint].get<int>() : 0;
  }
  bool issued(const AwsCredentialsPtr& credentials) {
    const auto all = control("issued", "{}");
    return all.contains(credentials->access_key_id) &&
           all[credentials->access_key_id]["secret"] ==
               std::string(credentials->secret_access_key.reveal_text()) &&
           all[credentials->access_key_id]["token"] ==
               std::string(credentials->session_token.reveal_text());
  }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(home_ + "/" + name) << text;
  }
  std::unique_ptr<AwsCredentialProvider> provider(AwsCredentialOptions options = {}) {
    return std::make_unique<AwsCredentialProvider>(
        *http_, *http_,
        [this](const std::string& name) -> std::optional<std::string> {
          const auto it = environment_.find(name);
          if (it == environment_.end()) return std::nullopt;
          return it->second;
        },
        std::move(options));
  }
  Result<AwsCredentialsPtr> get(AwsCredentialProvider& from, Duration within = 10s) {
    return loop_.run_task(from.get(loop_.now() + within));
  }
  Result<AwsCredentialsPtr> get(AwsCredentialOptions options = {}) {
    const auto fresh = provider(std::move(options));
    return get(*fresh);
  }
  static std::string keys(const std::string& id) {
    return "aws_access_key_id = " + id + "\naws_secret_access_key = secret/of+" + id + "\n";
  }

  std::string home_;
  std::map<std::string, std::string> environment_;
  CurlGlobal curl_;
  SecretArena arena_;
  ShiftedClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  std::unique_ptr<HttpClient> http_;
};

// ---- where from

TEST_F(Credentials, keys_in_the_environment_go_before_everything) {
  environment_["AWS_ACCESS_KEY_ID"] = "AKIAENV";
  environment_["AWS_SECRET_ACCESS_KEY"] = "secret";
  environment_["AWS_SESSION_TOKEN"] = "token";
  environment_["AWS_PROFILE"] = "other";
  write(".aws/credentials", "[other]\n" + keys("AKIAOTHER"));
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ((*got)->access_key_id, "AKIAENV");
  EXPECT_EQ((*got)->secret_access_key.reveal_text(), "secret");
  EXPECT_EQ((*got)->session_token.reveal_text(), "token");
  EXPECT_FALSE((*got)->expires);
}

TEST_F(Credentials, half_a_pair_in_the_environment_is_an_error_that_says_so) {
  environment_["AWS_ACCESS_KEY_ID"] = "AKIAENV";
  auto got = get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnauthenticated);
  EXPECT_THAT(got.error().message, HasSubstr("no secret access key"));
}

TEST_F(Credentials, a_profile_in_our_configuration_goes_before_the_environment) {
  environment_["AWS_ACCESS_KEY_ID"] = "AKIAENV";
  environment_["AWS_SECRET_ACCESS_KEY"] = "secret";
  write(".aws/credentials", "[other]\n" + keys("AKIAOTHER"));
  AwsCredentialOptions options;
  options.profile = "other";
  auto got = get(options);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ((*got)->access_key_id, "AKIAOTHER");
}

TEST_F(Credentials, web_identity_comes_before_the_profile) {
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = part("KEYFS_TEST_WEB_IDENTITY_TOKEN_FILE");
  environment_["AWS_ROLE_ARN"] = "arn:aws:iam::123456789012:role/app";
  write(".aws/credentials", "[default]\n" + keys("AKIADEFAULT"));
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(issued(*got));
  EXPECT_TRUE((*got)->expires);
  EXPECT_EQ(count("sts"), 1);
}

TEST_F(Credentials, a_web_identity_that_sts_does_not_take_names_the_role_and_the_file) {
  control("settings", R"({"web_identity_token": "another"})");
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = part("KEYFS_TEST_WEB_IDENTITY_TOKEN_FILE");
  environment_["AWS_ROLE_ARN"] = "arn:aws:iam::123456789012:role/app";
  auto got = get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnauthenticated);
  EXPECT_THAT(got.error().message, HasSubstr("arn:aws:iam::123456789012:role/app"));
  EXPECT_THAT(got.error().message, HasSubstr("InvalidIdentityToken"));
  EXPECT_THAT(got.error().message, Not(HasSubstr("No OpenIDConnect provider")));  // not quoted
}

TEST_F(Credentials, the_default_profile_is_read_from_both_files) {
  write(".aws/config", "[default]\nregion = eu-west-1\n" + keys("AKIACONFIG"));
  EXPECT_EQ((*get())->access_key_id, "AKIACONFIG");
  write(".aws/credentials", "# mine\n[default]\n" + keys("AKIACREDENTIALS") + "\n[x]\n");
  EXPECT_EQ((*get())->access_key_id, "AKIACREDENTIALS");
}

TEST_F(Credentials, the_files_may_be_elsewhere) {
  write("a", "[profile p]\n" + keys("AKIAA"));
  write("b", "[q]\n" + keys("AKIAB"));
  environment_["AWS_CONFIG_FILE"] = home_ + "/a";
  environment_["AWS_SHARED_CREDENTIALS_FILE"] = home_ + "/b";
  environment_["AWS_PROFILE"] = "p";
  EXPECT_EQ((*get())->access_key_id, "AKIAA");
  environment_["AWS_PROFILE"] = "q";
  EXPECT_EQ((*get())->access_key_id, "AKIAB");
}

TEST_F(Credentials, a_profile_that_is_not_there_is_an_error_and_nobody_else_is_asked) {
  environment_["AWS_PROFILE"] = "absent";
  auto got = get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kInvalid);
  EXPECT_THAT(got.error().message, HasSubstr("no AWS profile absent"));
  EXPECT_EQ(count("imds_token"), 0);
}

TEST_F(Credentials, a_malformed_file_is_told_with_its_line_and_not_quoted) {
  write(".aws/credentials", "[default]\naws_access_key_id = A\nsecret without equals sign\n");
  auto got = get();
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, HasSubstr("/.aws/credentials:3: "));
  EXPECT_THAT(got.error().message, Not(HasSubstr("without equals")));
}

TEST_F(Credentials, a_role_is_assumed_with_its_source_profile) {
  write(".aws/config",
        "[profile app]\nrole_arn = arn:aws:iam::123456789012:role/app ; a comment\n"
        "source_profile = base\nrole_session_name=me\nexternal_id=x/y\nduration_seconds = 900\n"
        "s3 =\n  max_queue_size = 10\n");
  write(".aws/credentials", "[base]\n" + keys("AKIABASE"));
  environment_["AWS_PROFILE"] = "app";
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(issued(*got));
  EXPECT_EQ(count("sts"), 1);
}

TEST_F(Credentials, a_role_may_be_its_own_source_and_roles_may_follow_each_other) {
  write(".aws/config",
        "[profile app]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = middle\n"
        "[profile middle]\nrole_arn = arn:aws:iam::123456789012:role/m\nsource_profile = own\n"
        "[profile own]\nrole_arn = arn:aws:iam::123456789012:role/o\nsource_profile = own\n" +
            keys("AKIAOWN"));
  environment_["AWS_PROFILE"] = "own";
  auto own = get();
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_EQ(count("sts"), 1);
  // Of a source its keys count, and not its role, as with botocore.
  environment_["AWS_PROFILE"] = "app";
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(count("sts"), 3);
}

TEST_F(Credentials, a_role_by_credential_source_takes_the_instances) {
  write(".aws/config",
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/app\n"
        "credential_source = Ec2InstanceMetadata\n");
  auto got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(count("imds_token"), 1);
  EXPECT_EQ(count("sts"), 1);
}

TEST_F(Credentials, contradictions_in_a_profile_are_told) {
  const std::string role = "[default]\nrole_arn = arn:aws:iam::123456789012:role/app\n";
  for (const auto& [text, what] : std::map<std::string, std::string>{
           {role, "needs a source_profile or a credential_source"},
           {role + "source_profile = a\ncredential_source = Environment\n", "contradict"},
           {role + "source_profile = nobody\n", "no source_profile nobody"},
           {role + "source_profile = default\n", "in a circle"},
           {role + "credential_source = Moon\n", "none of Environment"},
           {role + "credential_source = Environment\n", "AWS_ACCESS_KEY_ID is not set"},
           {role + "source_profile = a\nduration_seconds = 5\n", "duration_seconds"},
           {role + "source_profile = a\nmfa_serial = m\n", "mfa_serial"},
           {"[default]\nsso_account_id = 1\n", "single sign-on"}}) {
    write(".aws/config", text);
    auto got = get();
    ASSERT_FALSE(got) << text;
    EXPECT_EQ(got.error().code, Code::kInvalid) << text;
    EXPECT_THAT(got.error().message, HasSubstr(what));
  }
}

TEST_F(Credentials, a_role_of_our_configuration_is_assumed_with_what_was_found) {
  environment_["AWS_ACCESS_KEY_ID"] = "AKIAENV";
  environment_["AWS_SECRET_ACCESS_KEY"] = "secret";
  AwsCredentialOptions options;
  options.role_arn = "arn:aws:iam::123456789012:role/kms";
  const auto from = provider(options);
  auto got = get(*from);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(issued(*got));
  EXPECT_THAT(from->origin(), HasSubstr("arn:aws:iam::123456789012:role/kms"));
}

TEST_F(Credentials, when_one_regions_sts_fails_the_next_one_is_asked) {
  control("settings", R"({"fail": {"sts": 503}})");
  environment_["AWS_ACCESS_KEY_ID"] = "AKIAENV";
  environment_["AWS_SECRET_ACCESS_KEY"] = "secret";
  AwsCredentialOptions options;
  options.role_arn = "arn:aws:iam::123456789012:role/kms";
  options.sts_regions = {"us-east-1"};
  const auto from = provider(options);
  from->add_sts_region("us-west-2");
  from->add_sts_region("us-east-1");
  auto got = get(*from);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnavailable);
  EXPECT_EQ(count("sts"), 2);
  control("settings", R"({"fail": {"sts": 400}})");
  clock_.since += 2s;
  ASSERT_FALSE(get(*from));
  EXPECT_EQ(count("sts"), 3);  // a refusal would be one everywhere
}

// ---- processes

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
           {"sh -c 'echo SECRET; exit 3'", "ended with code 3"},
           {"echo SECRET", "not the JSON of Version 1"},
           {"echo '{\"Version\": 2}'", "not the JSON of Version 1"},
           {"echo '{\"Version\": 1, \"AccessKeyId\": \"SECRET\"}'", "no secret access key"},
           {"sh -c 'kill -9 $$'", "ended by a signal"},
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

// ---- containers and instances

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

// ---- renewal

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
  EXPECT_THAT(warnings.back(), HasSubstr("used on until AWS refuses them"));
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
}  // namespace keyfs
