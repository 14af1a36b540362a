#include "base/aws/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace keyfs {
namespace {

using ::testing::HasSubstr;

struct Variables {
  std::map<std::string, std::string> values;
  Environment environment() {
    return [this](const std::string& name) -> std::optional<std::string> {
      const auto it = values.find(name);
      return it == values.end() ? std::nullopt : std::optional(it->second);
    };
  }
  std::string endpoint(const std::string& service, const std::string& region,
                       const std::string& configured = "", bool allow_plain_http = false) {
    auto url = aws_endpoint(service, region, configured, environment(), allow_plain_http);
    return url ? *url : "error: " + url.error().message;
  }
};

TEST(AwsEndpoint, is_awss_own_for_the_region_unless_told_otherwise) {
  Variables none;
  EXPECT_EQ(none.endpoint("kms", "us-east-1"), "https://kms.us-east-1.amazonaws.com/");
  EXPECT_EQ(none.endpoint("dynamodb", "eu-west-1"), "https://dynamodb.eu-west-1.amazonaws.com/");
  EXPECT_EQ(none.endpoint("sts", "cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/");
  EXPECT_EQ(none.endpoint("kms", "us-iso-east-1"), "https://kms.us-iso-east-1.c2s.ic.gov/");
  EXPECT_EQ(none.endpoint("kms", "us-isob-east-1"), "https://kms.us-isob-east-1.sc2s.sgov.gov/");
}

TEST(AwsEndpoint, fips_and_dual_stack_follow_the_environment) {
  Variables fips{{{"AWS_USE_FIPS_ENDPOINT", "true"}}};
  EXPECT_EQ(fips.endpoint("kms", "us-east-1"), "https://kms-fips.us-east-1.amazonaws.com/");
  EXPECT_EQ(fips.endpoint("dynamodb", "us-gov-west-1"),
            "https://dynamodb.us-gov-west-1.amazonaws.com/");
  Variables dual{{{"AWS_USE_DUALSTACK_ENDPOINT", "TRUE"}}};
  EXPECT_EQ(dual.endpoint("kms", "us-east-1"), "https://kms.us-east-1.api.aws/");
  EXPECT_EQ(dual.endpoint("kms", "cn-north-1"),
            "https://kms.cn-north-1.api.amazonwebservices.com.cn/");
  Variables both{{{"AWS_USE_DUALSTACK_ENDPOINT", "true"}, {"AWS_USE_FIPS_ENDPOINT", "true"}}};
  EXPECT_EQ(both.endpoint("kms", "us-east-1"), "https://kms-fips.us-east-1.api.aws/");
  Variables odd{{{"AWS_USE_FIPS_ENDPOINT", "yes"}}};
  EXPECT_THAT(odd.endpoint("kms", "us-east-1"), HasSubstr("AWS_USE_FIPS_ENDPOINT"));
}

TEST(AwsEndpoint, plain_http_to_another_machine_is_refused_unless_it_is_allowed) {
  Variables none;
  for (const char* url :
       {"http://10.0.0.1:4566", "http://kms.internal", "http://127.0.0.1.evil.test",
        "http://localhost.evil.test:80", "http://[::2]:1", "http://1"}) {
    EXPECT_THAT(none.endpoint("kms", "us-east-1", url), HasSubstr("allow_plain_http = yes")) << url;
    EXPECT_EQ(none.endpoint("kms", "us-east-1", url, true), url + std::string("/"));
    Variables set{{{"AWS_ENDPOINT_URL_KMS", url}}};
    EXPECT_THAT(set.endpoint("kms", "us-east-1"),
                HasSubstr("error: AWS_ENDPOINT_URL_KMS is plain http"));
  }
  for (const char* url : {"http://127.0.0.1:4566", "http://localhost", "http://LOCALHOST:1",
                          "http://127.1.2.3", "http://[::1]:4566", "https://10.0.0.1"}) {
    EXPECT_EQ(none.endpoint("kms", "us-east-1", url), url + std::string("/"));
  }
}

TEST(AwsEndpoint, the_configuration_goes_before_the_services_variable_before_the_general_one) {
  Variables all{
      {{"AWS_ENDPOINT_URL", "https://general:1"}, {"AWS_ENDPOINT_URL_KMS", "https://kms:2/"}}};
  EXPECT_EQ(all.endpoint("kms", "us-east-1", "https://ours:3"), "https://ours:3/");
  EXPECT_EQ(all.endpoint("kms", "us-east-1"), "https://kms:2/");
  EXPECT_EQ(all.endpoint("dynamodb", "us-east-1"), "https://general:1/");
  all.values["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true";
  EXPECT_EQ(all.endpoint("kms", "us-east-1"), "https://kms.us-east-1.amazonaws.com/");
  EXPECT_EQ(all.endpoint("kms", "us-east-1", "https://ours:3"), "https://ours:3/");
}

TEST(AwsEndpoint, what_is_no_url_of_a_host_alone_is_told_by_its_name) {
  for (const char* url : {"kms.test", "ftp://a", "http://", "http://a/b", "http://a?b",
                          "http://u@a", "https:///", "http://a b"}) {
    Variables wrong{{{"AWS_ENDPOINT_URL_KMS", url}}};
    EXPECT_THAT(wrong.endpoint("kms", "us-east-1"), HasSubstr("error: AWS_ENDPOINT_URL_KMS"))
        << url;
  }
}

TEST(AwsEndpoint, a_region_name_cannot_smuggle_in_another_host) {
  Variables none;
  for (const char* region : {"", "us-east-1.evil.test/", "US-EAST-1", "a b", "x@y"}) {
    EXPECT_THAT(none.endpoint("kms", region), HasSubstr("not the name of an AWS region")) << region;
  }
}

}  // namespace
}  // namespace keyfs
