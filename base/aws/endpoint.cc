#include "base/aws/endpoint.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

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

Result<bool> flag(const Environment& environment, const std::string& name) {
  auto value = environment(name);
  if (!value) return false;
  for (char& c : *value) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (*value == "true") return true;
  if (*value == "false") return false;
  return fail(Code::kInvalid, name + " is neither true nor false");
}

// `name` is what the message begins with.
Result<std::string> given(std::string url, const std::string& name) {
  const bool https = url.starts_with("https://");
  if (!https && !url.starts_with("http://")) {
    return fail(Code::kInvalid, name + "is not an http:// or https:// URL");
  }
  const size_t host = https ? 8 : 7;
  while (url.size() > host && url.back() == '/') url.pop_back();
  if (url.size() == host || url.find_first_of("/?#@ \t", host) != std::string::npos) {
    return fail(Code::kInvalid, name + "is not a URL of a host and a port alone");
  }
  return url + "/";
}

}  // namespace

bool is_aws_region_name(const std::string& region) {
  return !region.empty() && region.size() <= 40 &&
         std::all_of(region.begin(), region.end(), [](unsigned char c) {
           return std::islower(c) || std::isdigit(c) || c == '-';
         });
}

std::string default_aws_region(const Environment& environment) {
  if (auto region = environment("AWS_REGION")) return *region;
  return environment("AWS_DEFAULT_REGION").value_or("");
}

Result<std::string> aws_endpoint(const std::string& service, const std::string& region,
                                 const std::string& configured, const Environment& environment) {
  if (!configured.empty()) return given(configured, "");
  auto ignore = flag(environment, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
  if (!ignore) return fail(ignore.error());
  if (!*ignore) {
    std::string name = "AWS_ENDPOINT_URL_" + service;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    for (const std::string& variable : {name, std::string("AWS_ENDPOINT_URL")}) {
      if (auto url = environment(variable)) return given(*url, variable + " ");
    }
  }
  if (!is_aws_region_name(region)) {
    return fail(Code::kInvalid, "\"" + region + "\" is not the name of an AWS region");
  }
  auto fips = flag(environment, "AWS_USE_FIPS_ENDPOINT");
  auto dual_stack = flag(environment, "AWS_USE_DUALSTACK_ENDPOINT");
  if (!fips) return fail(fips.error());
  if (!dual_stack) return fail(dual_stack.error());
  const Partition& partition =
      *std::find_if(kPartitions.begin(), kPartitions.end(),
                    [&](const Partition& one) { return region.starts_with(one.region_prefix); });
  if (*dual_stack && partition.dual_stack_suffix.empty()) {
    return fail(Code::kInvalid, "AWS_USE_DUALSTACK_ENDPOINT: there is none in " + region);
  }
  // In GovCloud the plain endpoints of these two are the FIPS ones.
  const bool already_fips = region.starts_with("us-gov-") && service != "kms" && !*dual_stack;
  return "https://" + service + (*fips && !already_fips ? "-fips." : ".") + region + "." +
         std::string(*dual_stack ? partition.dual_stack_suffix : partition.suffix) + "/";
}

}  // namespace keyfs
