#include "base/aws/endpoint.h"

#include <algorithm>
#include <array>

#include "base/host.h"
#include "base/text.h"

namespace keyfs {
namespace {

struct Partition {
  std::string_view region_prefix;
  std::string_view suffix;
  std::string_view dual_stack_suffix;
};
// botocore's and the SDKs' partitions.json; the last one is for all other regions.
constexpr std::array<Partition, 5> kPartitions = {{
    {"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"us-gov-", "amazonaws.com", "api.aws"},
    {"us-isob-", "sc2s.sgov.gov", ""},
    {"us-iso-", "c2s.ic.gov", ""},
    {"", "amazonaws.com", "api.aws"},
}};

const Partition& partition_of(const std::string& region) {
  return *std::find_if(kPartitions.begin(), kPartitions.end(),
                       [&](const Partition& one) { return region.starts_with(one.region_prefix); });
}

Result<bool> flag(const Environment& environment, const std::string& name) {
  const std::string value = lower(environment(name).value_or("false"));
  if (value == "true") return true;
  if (value == "false") return false;
  return fail(Code::kInvalid, name + " is neither true nor false");
}

// `name` begins the message.
Result<std::string> given(std::string url, const std::string& name, bool allow_plain_http) {
  const bool https = url.starts_with("https://");
  if (!https && !url.starts_with("http://")) {
    return fail(Code::kInvalid, name + "is not an http:// or https:// URL");
  }
  const size_t host = https ? 8 : 7;
  while (url.size() > host && url.back() == '/') url.pop_back();
  if (url.size() == host || url.find_first_of("/?#@ \t", host) != std::string::npos) {
    return fail(Code::kInvalid, name + "is not a URL with only a host and a port");
  }
  if (!allow_plain_http && is_plain_to_another_machine(url)) {
    return fail(Code::kInvalid,
                name +
                    "is plain http to another machine, so keys could be read on the network; use "
                    "https, or set allow_plain_http = yes");
  }
  return url + "/";
}

}  // namespace

bool is_aws_region_name(const std::string& region) {
  return !region.empty() && region.size() <= 40 &&
         std::all_of(region.begin(), region.end(),
                     [](char c) { return is_lower(c) || is_digit(c) || c == '-'; });
}

bool in_one_aws_partition(const std::string& region, const std::string& other) {
  return &partition_of(region) == &partition_of(other);
}

std::string default_aws_region(const Environment& environment) {
  if (auto region = environment("AWS_REGION")) return *region;
  return environment("AWS_DEFAULT_REGION").value_or("");
}

Result<std::string> aws_endpoint(const std::string& service, const std::string& region,
                                 const std::string& configured, const Environment& environment,
                                 bool allow_plain_http) {
  if (!configured.empty()) return given(configured, "", allow_plain_http);
  auto ignore = flag(environment, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
  if (!ignore) return fail(ignore.error());
  if (!*ignore) {
    std::string name = "AWS_ENDPOINT_URL_" + service;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; });
    for (const std::string& variable : {name, std::string("AWS_ENDPOINT_URL")}) {
      if (auto url = environment(variable)) return given(*url, variable + " ", allow_plain_http);
    }
  }
  if (!is_aws_region_name(region)) {
    return fail(Code::kInvalid, "\"" + region + "\" is not the name of an AWS region");
  }
  auto fips = flag(environment, "AWS_USE_FIPS_ENDPOINT");
  auto dual_stack = flag(environment, "AWS_USE_DUALSTACK_ENDPOINT");
  if (!fips) return fail(fips.error());
  if (!dual_stack) return fail(dual_stack.error());
  const Partition& partition = partition_of(region);
  if (*dual_stack && partition.dual_stack_suffix.empty()) {
    return fail(Code::kInvalid, "AWS_USE_DUALSTACK_ENDPOINT: there is none in " + region);
  }
  // In GovCloud the plain endpoints of these two are the FIPS ones.
  const bool already_fips = region.starts_with("us-gov-") && service != "kms" && !*dual_stack;
  return "https://" + service + (*fips && !already_fips ? "-fips." : ".") + region + "." +
         std::string(*dual_stack ? partition.dual_stack_suffix : partition.suffix) + "/";
}

}  // namespace keyfs
