// The endpoint of an AWS service.
//
// The first of these that is set: the endpoint in keyfs's configuration,
// AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL, and otherwise AWS's own for the region: FIPS with
// AWS_USE_FIPS_ENDPOINT=true, dual-stack with AWS_USE_DUALSTACK_ENDPOINT=true.
// AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true ignores the two URL variables.
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
//
// Thread-safety: plain functions. Blocking: never.
#pragma once

#include <string>
#include <string_view>

#include "base/environment.h"
#include "base/result.h"

namespace keyfs {

// `service` is "kms", "dynamodb" or "sts"; `configured` may be empty. The URL has no path but "/".
// http:// to another machine is refused unless `allow_plain_http`: KMS's replies hold data keys,
// and STS's credentials. Errors: kInvalid, naming the variable; for `configured` itself, only what
// is wrong ("is not a URL..."), since the caller names the key.
Result<std::string> aws_endpoint(const std::string& service, const std::string& region,
                                 const std::string& configured, const Environment& environment,
                                 bool allow_plain_http);

// True for "us-east-1" and the like: what is allowed in a host name and in a signature.
bool is_aws_region_name(const std::string& region);

// Whether something can be in both, such as a key with its replica: not in AWS China and elsewhere.
bool in_one_aws_partition(const std::string& region, const std::string& other);

// The region that AWS tools would use: AWS_REGION, AWS_DEFAULT_REGION; empty if neither is set.
std::string default_aws_region(const Environment& environment);

}  // namespace keyfs
