#include "kms/aws_region.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "kms/aws_fixture.h"
#include "kms/region_contract.h"
#include "support/memory_scan.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using ::testing::AnyOf;
using testing::AwsFixture;
using ::testing::HasSubstr;
using testing::have_aws;
using ::testing::Not;
using testing::part;
using testing::RegionFixture;
using ::testing::StartsWith;

std::unique_ptr<RegionFixture> make_aws_fixture() { return std::make_unique<AwsFixture>(); }

}  // namespace

namespace testing {
// Under the program's launcher only (tests/support/with_aws.py).
INSTANTIATE_TEST_SUITE_P(Aws, RegionContract, ::testing::Values(make_aws_fixture));
}  // namespace testing

namespace {

class AwsRegionTest : public ::testing::Test {
 protected:
  Loop& loop() { return aws_.loop(); }
  TimePoint within(Duration time = 10s) { return loop().now() + time; }
  Result<GeneratedKey> generate(Region& region, Duration time = 10s) {
    return loop().run_task(region.generate(32, context_, within(time)));
  }
  Result<WrappedKey> wrap(Region& region, const SecretBytes& key) {
    return loop().run_task(region.wrap(key, context_, within()));
  }
  Result<SecretBytes> unwrap(Region& region, const WrappedKey& wrapped, Duration time = 10s) {
    return loop().run_task(region.unwrap(wrapped, context_, within(time)));
  }
  std::string other_key_arn() const {
    return "arn:aws:kms:" + part("REGION_1") +
           ":999999999999:key/00000000-0000-0000-0000-000000000000";
  }

  AwsFixture aws_;
  EncryptionContext context_ = key_context("orders", 1);
};

// ---- calls

TEST_F(AwsRegionTest, each_operation_costs_one_call) {
  Region& region = aws_.region();
  auto generated = generate(region);
  ASSERT_TRUE(generated) << generated.error().message;
  ASSERT_TRUE(wrap(region, generated->key));
  ASSERT_TRUE(unwrap(region, generated->wrapped));
  EXPECT_EQ(aws_.calls(1, "GenerateDataKey"), 1);
  EXPECT_EQ(aws_.calls(1, "Encrypt"), 1);
  EXPECT_EQ(aws_.calls(1, "Decrypt"), 1);
  EXPECT_EQ(aws_.calls(1, "*"), 3);
}

TEST_F(AwsRegionTest, the_keys_arn_is_kept_and_never_the_alias) {
  auto generated = generate(aws_.region());
  ASSERT_TRUE(generated);
  EXPECT_EQ(generated->wrapped.master, part("KEY_1"));
}

TEST_F(AwsRegionTest, an_arn_an_id_or_an_aliass_arn_will_do_as_key) {
  const std::string arn = part("KEY_1");
  const std::string id = arn.substr(arn.rfind('/') + 1);
  const std::string alias_arn = arn.substr(0, arn.rfind(':') + 1) + "alias/keyfs";
  for (const std::string& key : {arn, id, alias_arn}) {
    auto region = aws_.make(1, key);
    auto generated = generate(*region);
    ASSERT_TRUE(generated) << generated.error().message;
    EXPECT_EQ(generated->wrapped.master, arn);
    EXPECT_TRUE(unwrap(*region, generated->wrapped));
  }
}

TEST_F(AwsRegionTest, signatures_are_those_that_aws_computes) {
  aws_.set("AWS_SESSION_TOKEN", "a-token");
  aws_.control(1, "POST", "/verify",
               {{"keys", {{"AKIATEST", {{"secret", "test"}, {"token", "a-token"}}}}}});
  auto generated = generate(aws_.region());
  ASSERT_TRUE(generated) << generated.error().message;
  ASSERT_TRUE(wrap(aws_.region(), generated->key));
  EXPECT_TRUE(unwrap(aws_.region(), generated->wrapped));
}

// ---- which key

TEST_F(AwsRegionTest, a_multi_region_keys_wrap_serves_all_its_replicas) {
  auto first = aws_.make(1, part("MRK_1"));
  auto second = aws_.make(2, part("MRK_2"));
  auto generated = generate(*first);
  ASSERT_TRUE(generated) << generated.error().message;
  EXPECT_EQ(generated->wrapped.master, part("MRK_1"));
  EXPECT_TRUE(second->unwraps(generated->wrapped.master));
  auto key = unwrap(*second, generated->wrapped);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_TRUE(key->equals(generated->key.reveal()));
  EXPECT_FALSE(second->unwraps(part("KEY_1")));
  EXPECT_EQ(aws_.calls(2, "*"), 1);
}

TEST_F(AwsRegionTest, keeping_warm_learns_what_an_alias_stands_for) {
  auto region = aws_.make(1, "alias/keyfs");
  const std::string neighbour = part("KEY_1").substr(0, part("KEY_1").rfind('/') + 1) + "another";
  loop().run_task(region->keep_warm());
  EXPECT_TRUE(region->unwraps(part("KEY_1")));
  EXPECT_TRUE(region->unwraps(neighbour));  // of the same account and region
  EXPECT_FALSE(region->unwraps(other_key_arn()));
  EXPECT_EQ(aws_.calls(1, "DescribeKey"), 1);
  loop().run_task(region->keep_warm());
  EXPECT_EQ(aws_.calls(1, "DescribeKey"), 1);
}

TEST_F(AwsRegionTest, old_wraps_are_readable_after_the_alias_was_pointed_elsewhere) {
  auto before = aws_.make(1, part("MRK_1"));
  auto generated = generate(*before);
  ASSERT_TRUE(generated);
  // This one's alias refers to another key of the account, and it has never made a call before.
  auto after = aws_.make(1, "alias/keyfs");
  auto key = unwrap(*after, generated->wrapped);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_TRUE(key->equals(generated->key.reveal()));
  auto again = unwrap(*after, generated->wrapped);  // now it knows, and asks once
  ASSERT_TRUE(again);
  EXPECT_EQ(aws_.calls(1, "Decrypt"), 3);
}

TEST_F(AwsRegionTest, a_wrap_that_names_a_key_of_another_account_is_not_tried) {
  auto generated = generate(aws_.region());
  ASSERT_TRUE(generated);
  generated->wrapped.master = other_key_arn();
  auto key = unwrap(aws_.region(), generated->wrapped);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, Code::kCorrupt);
  EXPECT_EQ(aws_.calls(1, "Decrypt"), 0);
}

TEST_F(AwsRegionTest, a_wrap_that_names_another_master_than_its_own_is_corrupt) {
  auto generated = generate(aws_.region());
  ASSERT_TRUE(generated);
  generated->wrapped.master = part("MRK_1");
  auto known = unwrap(aws_.region(), generated->wrapped);
  ASSERT_FALSE(known);
  EXPECT_EQ(known.error().code, Code::kCorrupt);
  auto unknown = unwrap(*aws_.make(1, "alias/keyfs"), generated->wrapped);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kCorrupt);
}

TEST_F(AwsRegionTest, a_reply_about_another_key_is_corrupt_for_each_operation) {
  auto generated = generate(aws_.region());
  ASSERT_TRUE(generated);
  const std::vector<std::string> configured = {"alias/keyfs", part("KEY_1")};
  for (const std::string& key : configured) {
    // The other region's key: for an alias, any key of the right region would be accepted at first.
    for (const char* operation : {"GenerateDataKey", "Encrypt", "Decrypt"}) {
      aws_.fault(
          1, {{"do", "corrupt"}, {"op", operation}, {"field", "KeyId"}, {"value", part("KEY_2")}});
    }
    auto region = aws_.make(1, key);
    auto made = generate(*region);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kCorrupt);
    auto wrapped = wrap(*region, generated->key);
    ASSERT_FALSE(wrapped);
    EXPECT_EQ(wrapped.error().code, Code::kCorrupt);
    auto unwrapped = unwrap(*region, generated->wrapped);
    ASSERT_FALSE(unwrapped);
    EXPECT_EQ(unwrapped.error().code, Code::kCorrupt);
    aws_.control(1, "DELETE", "/faults");
  }
}

TEST_F(AwsRegionTest, a_wrap_of_rkms_without_master_and_context_is_unwrapped) {
  context_.clear();
  auto generated = generate(aws_.region());
  ASSERT_TRUE(generated);
  generated->wrapped.master.clear();
  EXPECT_TRUE(unwrap(aws_.region(), generated->wrapped));
  EXPECT_TRUE(unwrap(*aws_.make(1, "alias/keyfs"), generated->wrapped));
}

// ---- KMS's errors, each to its action (kms/region.h says what each code makes the caller do)

struct ErrorCase {
  const char* type;
  Code code;
  const char* message;
};
class AwsRegionError : public AwsRegionTest, public ::testing::WithParamInterface<ErrorCase> {};

TEST_P(AwsRegionError, leads_to_its_action_for_each_operation) {
  Region& region = aws_.region();
  auto good = generate(region);
  ASSERT_TRUE(good);
  aws_.control(1, "POST", "/stats/reset");
  aws_.fault(1, {{"do", "error"},
                 {"op", {"GenerateDataKey", "Encrypt", "Decrypt"}},
                 {"type", GetParam().type},
                 {"message", "do not quote me"}});
  const auto expect = [&](const Error& error) {
    EXPECT_EQ(error.code, GetParam().code) << error.message;
    EXPECT_THAT(error.message, HasSubstr(GetParam().type));
    EXPECT_THAT(error.message, HasSubstr(GetParam().message));
    EXPECT_THAT(error.message, HasSubstr(part("REGION_1")));
    EXPECT_THAT(error.message, Not(HasSubstr("do not quote me")));
  };
  auto generated = generate(region);
  ASSERT_FALSE(generated);
  expect(generated.error());
  auto wrapped = wrap(region, good->key);
  ASSERT_FALSE(wrapped);
  expect(wrapped.error());
  auto unwrapped = unwrap(region, good->wrapped);
  ASSERT_FALSE(unwrapped);
  expect(unwrapped.error());
  EXPECT_EQ(aws_.calls(1, "*"), 3);  // no retry in the same region
}

INSTANTIATE_TEST_SUITE_P(
    EachOf, AwsRegionError,
    ::testing::Values(
        ErrorCase{"KMSInternalException", Code::kUnavailable, ""},
        ErrorCase{"KeyUnavailableException", Code::kUnavailable, "temporarily unavailable"},
        ErrorCase{"DependencyTimeoutException", Code::kUnavailable, ""},
        ErrorCase{"ServiceUnavailable", Code::kUnavailable, ""},
        ErrorCase{"InternalFailure", Code::kUnavailable, ""},
        ErrorCase{"NeverHeardOfException", Code::kUnavailable, ""},
        ErrorCase{"ThrottlingException", Code::kThrottled, ""},
        ErrorCase{"LimitExceededException", Code::kThrottled, ""},
        ErrorCase{"DisabledException", Code::kDenied, "is disabled: enable it"},
        ErrorCase{"KMSInvalidStateException", Code::kDenied, "pending deletion"},
        ErrorCase{"NotFoundException", Code::kDenied, "does not exist"},
        ErrorCase{"AccessDeniedException", Code::kDenied, "is not permitted"},
        ErrorCase{"InvalidKeyUsageException", Code::kDenied, "not a symmetric key"},
        ErrorCase{"InvalidGrantTokenException", Code::kDenied, "grant"},
        ErrorCase{"InvalidCiphertextException", Code::kCorrupt, "did not make this wrap"},
        ErrorCase{"IncorrectKeyException", Code::kCorrupt, "another key did"},
        ErrorCase{"ValidationException", Code::kInvalid, ""}),
    [](const auto& one) { return std::string(one.param.type); });

class AwsRegionRefusal : public AwsRegionTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(AwsRegionRefusal, credentials_are_renewed_once_and_the_call_made_again) {
  ASSERT_TRUE(generate(aws_.region()));
  int keys = 0;
  aws_.environment["AWS_ACCESS_KEY_ID"] = [&keys] { return "AKIANEW" + std::to_string(++keys); };
  aws_.fault(1, {{"do", "error"}, {"op", "GenerateDataKey"}, {"type", GetParam()}, {"count", 1}});
  auto after_one = generate(aws_.region());
  ASSERT_TRUE(after_one) << after_one.error().message;
  EXPECT_EQ(keys, 1);

  aws_.control(1, "POST", "/stats/reset");
  aws_.fault(1, {{"do", "error"}, {"op", "GenerateDataKey"}, {"type", GetParam()}});
  auto refused = generate(aws_.region());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnauthenticated);
  EXPECT_EQ(aws_.calls(1, "GenerateDataKey"), 2);
}

TEST_P(AwsRegionRefusal, the_same_credentials_again_are_not_tried_again) {
  aws_.fault(1, {{"do", "error"}, {"op", "GenerateDataKey"}, {"type", GetParam()}});
  auto refused = generate(aws_.region());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnauthenticated);
  EXPECT_THAT(refused.error().message, HasSubstr("the environment (AWS_ACCESS_KEY_ID)"));
  EXPECT_THAT(refused.error().message, HasSubstr(GetParam()));
  EXPECT_EQ(aws_.calls(1, "GenerateDataKey"), 1);
}

INSTANTIATE_TEST_SUITE_P(EachOf, AwsRegionRefusal,
                         ::testing::Values("ExpiredTokenException", "UnrecognizedClientException",
                                           "InvalidSignatureException",
                                           "MissingAuthenticationTokenException"),
                         [](const auto& one) { return std::string(one.param); });

TEST_F(AwsRegionTest, a_wrong_clock_is_allowed_for_after_one_refusal) {
  for (const auto off : {-3h, 20h}) {
    aws_.clock.off = off;
    auto region = aws_.make(1, "alias/keyfs");
    aws_.control(1, "POST", "/verify", {{"keys", {{"AKIATEST", {{"secret", "test"}}}}}});
    aws_.control(1, "POST", "/stats/reset");
    auto first = generate(*region);
    ASSERT_TRUE(first) << first.error().message;
    ASSERT_TRUE(generate(*region));
    EXPECT_EQ(aws_.calls(1, "GenerateDataKey"), 3);
    auto checked = loop().run_task(region->check(within()));
    EXPECT_FALSE(checked.items.back().ok);
    EXPECT_THAT(checked.items.back().detail, HasSubstr("this machine's clock is"));
    EXPECT_THAT(checked.items.back().detail, HasSubstr(off > 0h ? "ahead of" : "behind"));
    aws_.calm(1);
  }
}

TEST_F(AwsRegionTest, a_wrong_clock_that_stays_refused_is_named_with_its_remedy) {
  aws_.clock.off = 20min;
  aws_.control(1, "POST", "/verify", {{"keys", {{"AKIATEST", {{"secret", "not ours"}}}}}});
  auto generated = generate(aws_.region());
  ASSERT_FALSE(generated);
  EXPECT_EQ(generated.error().code, Code::kUnauthenticated);
  EXPECT_THAT(generated.error().message, HasSubstr("ahead of AWS's"));
  EXPECT_THAT(generated.error().message, HasSubstr("set the clock"));
}

TEST_F(AwsRegionTest, a_wrong_secret_access_key_is_named) {
  aws_.control(1, "POST", "/verify", {{"keys", {{"AKIATEST", {{"secret", "not ours"}}}}}});
  auto generated = generate(aws_.region());
  ASSERT_FALSE(generated);
  EXPECT_EQ(generated.error().code, Code::kUnauthenticated);
  EXPECT_THAT(generated.error().message, HasSubstr("the secret access key"));
}

// ---- the network

TEST_F(AwsRegionTest, what_the_network_does_leads_to_another_region) {
  auto good = generate(aws_.region());
  ASSERT_TRUE(good);
  for (const Json& fault :
       {Json{{"do", "reset"}}, Json{{"do", "close"}}, Json{{"do", "truncate"}},
        Json{{"do", "error"}, {"status", 503}, {"body", "<html>no JSON</html>"}},
        Json{{"do", "error"}, {"status", 200}, {"body", "hello"}},
        Json{{"do", "corrupt"}, {"field", "Plaintext"}, {"value", "!!!"}},
        Json{{"do", "corrupt"}, {"field", "Plaintext"}, {"value", 7}}}) {
    Json one = fault;
    one["op"] = "Decrypt";
    aws_.fault(1, one);
    auto key = unwrap(aws_.region(), good->wrapped);
    ASSERT_FALSE(key) << fault;
    EXPECT_EQ(key.error().code, Code::kUnavailable) << fault << key.error().message;
    aws_.control(1, "DELETE", "/faults");
  }
  EXPECT_TRUE(unwrap(aws_.region(), good->wrapped));
}

TEST_F(AwsRegionTest, a_region_that_hangs_is_a_timeout_at_the_deadline) {
  auto good = generate(aws_.region());
  ASSERT_TRUE(good);
  aws_.fault(1, {{"do", "hang"}, {"op", "Decrypt"}});
  auto key = unwrap(aws_.region(), good->wrapped, 200ms);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, Code::kTimeout);
}

TEST_F(AwsRegionTest, a_region_that_refuses_connections_is_unavailable) {
  aws_.control(1, "POST", "/link", {{"state", "cut"}});
  auto generated = generate(aws_.region());
  ASSERT_FALSE(generated);
  EXPECT_EQ(generated.error().code, Code::kUnavailable);
}

TEST_F(AwsRegionTest, a_kept_warm_connection_is_the_one_that_the_next_call_takes) {
  loop().run_task(aws_.region().keep_warm());
  loop().run_task(aws_.region().keep_warm());
  ASSERT_TRUE(generate(aws_.region()));
  const auto connections = aws_.control(1, "GET", "/stats")["connections"];
  EXPECT_EQ(connections["since_reset"], 1) << connections;
}

// ---- check

TEST_F(AwsRegionTest, check_names_the_action_that_is_missing) {
  for (const char* operation : {"GenerateDataKey", "Encrypt", "Decrypt", "DescribeKey"}) {
    aws_.fault(1, {{"do", "error"}, {"op", operation}, {"type", "AccessDeniedException"}});
    auto checked = loop().run_task(aws_.region().check(within()));
    int bad = 0;
    for (const auto& item : checked.items) {
      if (item.ok) continue;
      ++bad;
      EXPECT_THAT(item.detail, HasSubstr(std::string("kms:") + operation));
      EXPECT_THAT(item.remedy, HasSubstr(std::string("allow kms:") + operation));
    }
    EXPECT_EQ(bad, 1) << operation;
    aws_.control(1, "DELETE", "/faults");
  }
}

TEST_F(AwsRegionTest, check_takes_only_the_answer_of_a_dry_run_for_a_yes) {
  // As a service does that knows no DryRun, and carries the operation out.
  const nlohmann::json key = {{"KeyId", "alias/keyfs"},
                              {"Plaintext", "a2V5ZnMgY2hlY2s="},
                              {"CiphertextBlob", "a2V5ZnMgY2hlY2s="}};
  for (const char* operation : {"GenerateDataKey", "Decrypt"}) {
    aws_.fault(1, {{"do", "error"}, {"op", operation}, {"status", 200}, {"body", key}});
    auto checked = loop().run_task(aws_.region().check(within()));
    int bad = 0;
    for (const auto& item : checked.items) {
      if (item.ok) continue;
      ++bad;
      EXPECT_THAT(item.detail, StartsWith("unknown: "));
      EXPECT_THAT(item.detail, HasSubstr(std::string("kms:") + operation));
      EXPECT_FALSE(item.essential);
    }
    EXPECT_EQ(bad, 1) << operation;
    aws_.control(1, "DELETE", "/faults");
  }
  // Whoever is throttled is neither permitted nor refused.
  aws_.fault(1, {{"do", "error"}, {"op", "Decrypt"}, {"type", "ThrottlingException"}});
  auto checked = loop().run_task(aws_.region().check(within(3s)));
  EXPECT_FALSE(checked.items.back().ok);
  EXPECT_THAT(checked.items.back().detail, StartsWith("unknown: "));
}

TEST_F(AwsRegionTest, check_of_a_region_that_is_out_says_so_once) {
  aws_.control(1, "POST", "/link", {{"state", "refuse"}});
  auto checked = loop().run_task(aws_.make(1, "alias/keyfs")->check(within()));
  ASSERT_EQ(checked.items.size(), 1u);
  EXPECT_FALSE(checked.items[0].ok);
  EXPECT_THAT(checked.items[0].detail, HasSubstr("could not connect"));
  EXPECT_FALSE(checked.items[0].remedy.empty());
}

TEST_F(AwsRegionTest, check_without_credentials_says_so) {
  aws_.environment.erase("AWS_ACCESS_KEY_ID");
  auto checked = loop().run_task(aws_.region().check(within()));
  ASSERT_EQ(checked.items.size(), 1u);
  EXPECT_THAT(checked.items[0].detail, HasSubstr("no AWS credentials"));
  EXPECT_THAT(checked.items[0].remedy, HasSubstr("credentials"));
}

// ---- memory

TEST_F(AwsRegionTest, no_key_and_no_secret_access_key_stays_in_memory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep shadows of memory and what was freed";
#endif
  const testing::Needle secret("the secret access key");
  const testing::Needle token("the session token");
  const testing::Needle plain("the data key");
  aws_.environment["AWS_SECRET_ACCESS_KEY"] = [&] { return secret.reveal(); };
  aws_.environment["AWS_SESSION_TOKEN"] = [&] { return token.reveal(); };
  auto region = aws_.make(1, "alias/keyfs");
  auto text = plain.reveal();
  auto key = aws_.arena().copy_of(text);
  wipe({reinterpret_cast<uint8_t*>(text.data()), text.size()});
  ASSERT_TRUE(key);
  auto wrapped = wrap(*region, *key);
  ASSERT_TRUE(wrapped) << wrapped.error().message;
  EXPECT_EQ(plain.copies(), 1u);  // ours, and the scan sees it
  key->reset();
  EXPECT_EQ(plain.copies(), 0u);
  EXPECT_EQ(plain.base64_copies(), 0u);

  auto again = unwrap(*region, *wrapped);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(plain.copies(), 1u);
  again->reset();
  EXPECT_EQ(plain.copies(), 0u);
  EXPECT_EQ(plain.base64_copies(), 0u);
  EXPECT_LE(secret.copies(), 1u);  // the provider's own, in locked memory
  EXPECT_LE(token.copies(), 1u);
}

}  // namespace
}  // namespace keyfs
