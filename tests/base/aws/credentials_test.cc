// Where credentials come from: the environment, web identity, profiles, roles.
#include "base/aws/credentials_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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
  // In a source profile its keys count, not its role, as in botocore.
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
           {role + "source_profile = default\n", "refers back to itself"},
           {role + "credential_source = Moon\n", "not one of Environment"},
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

}  // namespace
}  // namespace keyfs::testing
