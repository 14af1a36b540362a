#include "base/aws/signer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace keyfs {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

const WallTime kSuiteTime = *from_rfc3339("2015-08-30T12:36:00Z");
constexpr const char* kSuiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
constexpr const char* kSuiteToken =
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfI"
    "eoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0"
    "wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
    "scqKmlzm8FDrypN"
    "C9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

class AwsSignerTest : public ::testing::Test {
 protected:
  AwsCredentialsPtr credentials(const std::string& secret = kSuiteSecret,
                                const std::string& token = "",
                                const std::string& id = "AKIDEXAMPLE") {
    auto out = std::make_shared<AwsCredentials>();
    out->access_key_id = id;
    out->secret_access_key = std::move(*arena_.copy_of(secret));
    out->session_token = std::move(*arena_.copy_of(token));
    return out;
  }
  static std::string authorization(const HttpRequest& request) {
    for (const auto& header : request.headers) {
      if (header.name == "Authorization") return header.value;
    }
    return "";
  }

  SecretArena arena_;
};

// AWS's Signature Version 4 test suite (aws-sig-v4-test-suite): each case by its name there.
struct SuiteCase {
  const char* name;
  const char* method;
  const char* target;
  std::vector<HttpHeader> headers;
  const char* body;
  const char* token;
  const char* signed_headers;
  const char* signature;
};

TEST_F(AwsSignerTest, the_published_test_suite_is_signed_as_published) {
  const std::string unreserved =
      "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const std::string unreserved_query = "/?" + unreserved + "=" + unreserved;
  const std::vector<SuiteCase> cases = {
      {"get-vanilla",
       "GET",
       "/",
       {},
       "",
       "",
       "host;x-amz-date",
       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"post-vanilla",
       "POST",
       "/",
       {},
       "",
       "",
       "host;x-amz-date",
       "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
      {"get-vanilla-empty-query-key",
       "GET",
       "/?Param1=value1",
       {},
       "",
       "",
       "host;x-amz-date",
       "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
      {"get-vanilla-query-order-key-case",
       "GET",
       "/?Param2=value2&Param1=value1",
       {},
       "",
       "",
       "host;x-amz-date",
       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
      {"get-vanilla-query-unreserved",
       "GET",
       unreserved_query.c_str(),
       {},
       "",
       "",
       "host;x-amz-date",
       "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
      {"get-vanilla-utf8-query",
       "GET",
       "/?%E1%88%B4=bar",
       {},
       "",
       "",
       "host;x-amz-date",
       "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
      {"post-vanilla-query",
       "POST",
       "/?Param1=value1",
       {},
       "",
       "",
       "host;x-amz-date",
       "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
      {"get-header-value-trim",
       "GET",
       "/",
       {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}},
       "",
       "",
       "host;my-header1;my-header2;x-amz-date",
       "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
      {"post-header-key-sort",
       "POST",
       "/",
       {{"My-Header1", "value1"}},
       "",
       "",
       "host;my-header1;x-amz-date",
       "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
      {"post-header-value-case",
       "POST",
       "/",
       {{"My-Header1", "VALUE1"}},
       "",
       "",
       "host;my-header1;x-amz-date",
       "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
      {"post-x-www-form-urlencoded",
       "POST",
       "/",
       {{"Content-Type", "application/x-www-form-urlencoded"}},
       "Param1=value1",
       "",
       "content-type;host;x-amz-date",
       "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
      {"post-sts-header-before",
       "POST",
       "/",
       {},
       "",
       kSuiteToken,
       "host;x-amz-date;x-amz-security-token",
       "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
  };
  for (const auto& one : cases) {
    AwsSigner signer(arena_, "us-east-1", "service");
    HttpRequest request(one.method, std::string("https://example.amazonaws.com") + one.target,
                        TimePoint::max());
    request.headers = one.headers;
    request.body = one.body;
    auto ok = signer.sign(request, credentials(kSuiteSecret, one.token), kSuiteTime);
    ASSERT_TRUE(ok) << ok.error().message;
    EXPECT_EQ(authorization(request),
              "AWS4-HMAC-SHA256 "
              "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" +
                  std::string(one.signed_headers) + ", Signature=" + one.signature)
        << one.name;
  }
}

// The documentation's worked example, IAM ListUsers.
TEST_F(AwsSignerTest, the_documented_example_is_signed_as_documented) {
  AwsSigner signer(arena_, "us-east-1", "iam");
  HttpRequest request("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
                      TimePoint::max());
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}};
  ASSERT_TRUE(signer.sign(request, credentials(), kSuiteTime));
  EXPECT_THAT(
      authorization(request),
      EndsWith("Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"));
}

// What botocore signs for requests like ours; tests/base/aws/make_botocore_signatures.py wrote it.
TEST_F(AwsSignerTest, requests_like_ours_are_signed_as_botocore_signs_them) {
  std::ifstream file(KEYFS_TEST_DATA "/botocore_signatures.json");
  const auto cases = nlohmann::json::parse(file, nullptr, false);
  ASSERT_TRUE(cases.is_array());
  ASSERT_GE(cases.size(), 10u);
  for (const auto& one : cases) {
    AwsSigner signer(arena_, one["region"], one["service"]);
    HttpRequest request(one["method"], one["url"], TimePoint::max());
    for (const auto& [name, value] : one["headers"].items()) {
      request.headers.push_back({name, value});
    }
    if (one["secret"].get<bool>()) {
      request.secret_body = std::move(*arena_.copy_of(one["body"].get<std::string>()));
    } else {
      request.body = one["body"];
    }
    auto ok = signer.sign(request,
                          credentials(one["secret_access_key"], one["token"], one["access_key_id"]),
                          *from_rfc3339(one["time"].get<std::string>()));
    ASSERT_TRUE(ok) << ok.error().message;
    EXPECT_EQ(authorization(request), one["authorization"].get<std::string>()) << one["url"];
  }
}

TEST_F(AwsSignerTest, a_kept_signing_key_is_left_for_another_day_or_other_credentials) {
  const auto mine = credentials();
  const auto others = credentials("another secret");
  const auto sign = [&](AwsSigner& signer, const AwsCredentialsPtr& by, WallTime at) {
    HttpRequest request("POST", "https://kms.us-east-1.amazonaws.com/", TimePoint::max());
    EXPECT_TRUE(signer.sign(request, by, at));
    return authorization(request);
  };
  const auto fresh = [&](const AwsCredentialsPtr& by, WallTime at) {
    AwsSigner signer(arena_, "us-east-1", "kms");
    return sign(signer, by, at);
  };
  AwsSigner kept(arena_, "us-east-1", "kms");
  const WallTime next_day = kSuiteTime + std::chrono::hours(24);
  EXPECT_EQ(sign(kept, mine, kSuiteTime), fresh(mine, kSuiteTime));
  EXPECT_EQ(sign(kept, mine, kSuiteTime), fresh(mine, kSuiteTime));
  EXPECT_EQ(sign(kept, mine, next_day), fresh(mine, next_day));
  EXPECT_EQ(sign(kept, others, next_day), fresh(others, next_day));
  EXPECT_EQ(sign(kept, mine, kSuiteTime), fresh(mine, kSuiteTime));
}

TEST_F(AwsSignerTest, credentials_that_were_replaced_are_not_kept) {
  AwsSigner signer(arena_, "us-east-1", "service");
  auto replaced = credentials();
  const std::weak_ptr<const AwsCredentials> watched = replaced;
  HttpRequest request("GET", "https://example.amazonaws.com/", TimePoint{});
  ASSERT_TRUE(signer.sign(request, replaced, kSuiteTime));
  replaced.reset();
  EXPECT_TRUE(watched.expired());
}

TEST_F(AwsSignerTest, the_session_token_is_sent_as_a_secret) {
  AwsSigner signer(arena_, "us-east-1", "kms");
  HttpRequest request("POST", "https://kms.us-east-1.amazonaws.com/", TimePoint::max());
  ASSERT_TRUE(signer.sign(request, credentials(kSuiteSecret, "the token"), kSuiteTime));
  ASSERT_EQ(request.secret_headers.size(), 1u);
  EXPECT_EQ(request.secret_headers[0].name, "X-Amz-Security-Token");
  EXPECT_EQ(request.secret_headers[0].value.reveal_text(), "the token");
  for (const auto& header : request.headers) EXPECT_THAT(header.value, Not(HasSubstr("the token")));
}

TEST_F(AwsSignerTest, what_the_other_side_might_read_otherwise_is_not_signed) {
  AwsSigner signer(arena_, "us-east-1", "kms");
  for (const char* url : {"kms.us-east-1.amazonaws.com", "https://a.test/b/../c",
                          "https://a.test//b", "https://a.test/?a=%zz"}) {
    HttpRequest request("GET", url, TimePoint::max());
    EXPECT_FALSE(signer.sign(request, credentials(), kSuiteTime)) << url;
  }
  HttpRequest twice("GET", "https://a.test/", TimePoint::max());
  twice.headers = {{"X-A", "1"}, {"x-a", "2"}};
  EXPECT_FALSE(signer.sign(twice, credentials(), kSuiteTime));
}

}  // namespace
}  // namespace keyfs
