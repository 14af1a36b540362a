#include "kms/aws_region_factory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/config.h"
#include "kms/kms_arn.h"

namespace keyfs {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class AwsRegionFactoryTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Region>> make(const std::string& name, const std::string& entries) {
    auto file = ConfigFile::parse("[region " + name + "]\ntype = aws\n" + entries, "keyfs.ini");
    EXPECT_TRUE(file) << file.error().message;
    return factory_.make(file->sections().front());
  }
  void expect_mistake(const std::string& name, const std::string& entries,
                      const std::string& message) {
    auto region = make(name, entries);
    ASSERT_FALSE(region) << entries;
    EXPECT_EQ(region.error().code, Code::kInvalid);
    EXPECT_EQ(region.error().message, "keyfs.ini:" + message);
  }

  CurlGlobal curl_;
  SecretArena arena_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  std::unique_ptr<HttpClient> http_ = *HttpClient::create(loop_, poller_, arena_, {});
  AwsRegionFactory factory_{*http_, *http_, [](const std::string&) { return std::nullopt; }};
};

TEST_F(AwsRegionFactoryTest, a_key_is_all_it_takes) {
  auto region = make("us-east-1", "key = alias/keyfs\n");
  ASSERT_TRUE(region) << region.error().message;
  EXPECT_EQ((*region)->name(), "us-east-1");
}

TEST_F(AwsRegionFactoryTest, a_region_may_have_a_name_of_its_own) {
  auto region = make("primary", "key = alias/keyfs\naws_region = eu-west-1\n");
  ASSERT_TRUE(region) << region.error().message;
  EXPECT_EQ((*region)->name(), "primary");
  EXPECT_TRUE((*region)->unwraps("arn:aws:kms:eu-west-1:1:key/k"));
}

TEST_F(AwsRegionFactoryTest, mistakes_are_told_with_their_line) {
  expect_mistake("us-east-1", "profile = p\n", "1: [region us-east-1] key: is missing");
  expect_mistake("us-east-1", "key = arn:aws:kms:us-west-2:1:key/k\n",
                 "3: [region us-east-1] key: is in us-west-2, not in us-east-1");
  expect_mistake("us-east-1", "key = arn:aws:s3:::b\n",
                 "3: [region us-east-1] key: is not the ARN of a KMS key or alias");
  expect_mistake("us-east-1", "key = alias/k\nendpoint = kms.test\n",
                 "4: [region us-east-1] endpoint: is not an http:// or https:// URL");
  expect_mistake("us-east-1", "key = alias/k\nrole_arn = admin\n",
                 "4: [region us-east-1] role_arn: is not an ARN");
  auto named = make("Primary", "key = alias/keyfs\n");
  ASSERT_FALSE(named);
  EXPECT_THAT(named.error().message, HasSubstr("aws_region: must name an AWS region"));
  auto unknown = make("us-east-1", "key = alias/k\nendpiont = http://a\n");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, StartsWith("keyfs.ini:4: "));
}

TEST(KmsKeyArn, is_parsed_and_compared) {
  const auto one = KmsKeyArn::parse("arn:aws:kms:us-east-1:111122223333:key/mrk-1");
  const auto replica = KmsKeyArn::parse("arn:aws:kms:us-west-2:111122223333:key/mrk-1");
  const auto stranger = KmsKeyArn::parse("arn:aws:kms:us-west-2:999922223333:key/mrk-1");
  const auto single = KmsKeyArn::parse("arn:aws:kms:us-west-2:111122223333:key/1");
  const auto single_too = KmsKeyArn::parse("arn:aws:kms:us-east-1:111122223333:key/1");
  ASSERT_TRUE(one && replica && stranger && single && single_too);
  EXPECT_TRUE(replica->replica_of(*one));
  EXPECT_FALSE(stranger->replica_of(*one));
  EXPECT_FALSE(single->replica_of(*single_too));
  for (const char* text : {"", "arn", "arn:aws:kms:r:a:alias/x", "arn:aws:kms:r:a:key/",
                           "arn:aws:kms::a:key/x", "arn:aws:s3:r:a:key/x", "key/x"}) {
    EXPECT_FALSE(KmsKeyArn::parse(text)) << text;
  }
  EXPECT_EQ(kms_arn_region("arn:aws:kms:eu-west-1:1:alias/x"), "eu-west-1");
}

}  // namespace
}  // namespace keyfs
