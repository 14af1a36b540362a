#include "fs/daemon/signing_settings.h"

#include <algorithm>
#include <string_view>

#include "base/aws/endpoint.h"
#include "base/config_reader.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxSigningName = 64;
constexpr size_t kMaxSigningRegions = 16;

bool is_signing_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxSigningName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-';
         });
}

// https://docs.aws.amazon.com/kms/latest/APIReference/API_Tag.html
void read_key_tags(ConfigReader& in, SigningSettings& settings) {
  for (const std::string& one : in.list("key_tags")) {
    const size_t equals = one.find('=');
    std::string name = one.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : one.substr(equals + 1);
    if (equals == std::string::npos || name.empty() || name.size() > 128 || value.size() > 256) {
      in.mistake("key_tags", "\"" + one + "\" is not NAME=VALUE, of 128 and 256 bytes at most");
    } else if (name.starts_with("aws:")) {
      in.mistake("key_tags", "tags that begin with aws: are AWS's own");
    } else if (std::any_of(settings.key_tags.begin(), settings.key_tags.end(),
                           [&](const auto& known) { return known.first == name; })) {
      in.mistake("key_tags", "names the tag " + name + " twice");
    }
    settings.key_tags.emplace_back(std::move(name), value);
  }
}

void read_kms_custody(ConfigReader& in, SigningSettings& settings) {
  settings.regions = in.list("regions");
  for (const std::string& region : settings.regions) {
    if (!is_aws_region_name(region)) {
      in.mistake("regions", "\"" + region + "\" is not the name of an AWS region");
    } else if (!in_one_aws_partition(region, settings.regions.front())) {
      in.mistake("regions", settings.regions.front() + " and " + region +
                                " are in two partitions of AWS: no key has replicas in both");
    }
  }
  if (settings.regions.size() > kMaxSigningRegions) {
    in.mistake("regions", "names more than " + std::to_string(kMaxSigningRegions) + " regions");
  }
  settings.key_policy_file = in.string("key_policy_file", "");
  if (!settings.key_policy_file.empty() && settings.key_policy_file[0] != '/') {
    in.mistake("key_policy_file", "\"" + settings.key_policy_file + "\" is not an absolute path");
  }
  read_key_tags(in, settings);
  settings.endpoint = in.string("endpoint", "");
  settings.profile = in.string("profile", "");
  settings.role_arn = in.string("role_arn", "");
  if (!settings.role_arn.empty() && !settings.role_arn.starts_with("arn:")) {
    in.mistake("role_arn", "is not an ARN");
  }
  settings.allow_plain_http = in.boolean("allow_plain_http", false);
  if (settings.regions.empty()) {
    in.not_here(
        {"key_policy_file", "key_tags", "endpoint", "profile", "role_arn", "allow_plain_http"},
        "is for custody kms, which needs regions");
  }
}

std::string signing_duration_text(SigningSettings::Milliseconds time) {
  struct Unit {
    int64_t length;
    const char* name;
  };
  for (const Unit& unit :
       {Unit{86'400'000, "d"}, Unit{3'600'000, "h"}, Unit{60'000, "m"}, Unit{1000, "s"}}) {
    if (time.count() != 0 && time.count() % unit.length == 0) {
      return std::to_string(time.count() / unit.length) + unit.name;
    }
  }
  return std::to_string(time.count()) + "ms";
}

}  // namespace

Result<SigningSettings> read_signing_settings(const ConfigFile& file) {
  SigningSettings settings;
  const ConfigSection none(file.name(), "signing", "", 1);
  const ConfigSection* found = file.find("signing");
  ConfigReader in(found != nullptr ? *found : none);
  settings.custody = in.choice("custody", {"wrapped", "kms"}, settings.custody);
  settings.name = in.string("name", settings.name);
  if (!is_signing_name(settings.name)) {
    in.mistake("name", "must be 1 to 64 letters, digits and '-', because it is part of an alias");
  }
  read_kms_custody(in, settings);
  if (settings.custody == "kms" && settings.regions.empty()) {
    in.mistake("custody", "kms needs regions = us-east-1, ...: where the keys are to be");
  }
  settings.keys_per_hour =
      static_cast<unsigned>(in.integer("keys_per_hour", settings.keys_per_hour, 1, 10'000));
  settings.grace = in.duration("grace", settings.grace, 0ms, 24h * 30);
  settings.list_every = in.duration("list_every", settings.list_every, 10s, 24h);
  if (auto ok = in.finish(); !ok) return fail(ok.error());
  return settings;
}

bool signs(const ConfigFile& file) { return file.find("sign") != nullptr; }

std::string signing_settings_text(const SigningSettings& settings) {
  const auto add = [](std::string& list, const std::string& item) {
    list += (list.empty() ? "" : ", ") + item;
  };
  std::string text = "[signing]\n";
  text += "custody = " + settings.custody + "\n";
  text += "name = " + settings.name + "\n";
  if (!settings.regions.empty()) {
    std::string regions;
    for (const auto& region : settings.regions) add(regions, region);
    text += "regions = " + regions + "\n";
    std::string tags;
    for (const auto& [name, value] : settings.key_tags) add(tags, name + "=" + value);
    const auto line = [&](const char* key, const std::string& value) {
      if (!value.empty()) text += std::string(key) + " = " + value + "\n";
    };
    line("key_policy_file", settings.key_policy_file);
    line("key_tags", tags);
    line("endpoint", settings.endpoint);
    line("profile", settings.profile);
    line("role_arn", settings.role_arn);
    text += std::string("allow_plain_http = ") + (settings.allow_plain_http ? "yes" : "no") + "\n";
  }
  text += "keys_per_hour = " + std::to_string(settings.keys_per_hour) + "\n";
  text += "grace = " + signing_duration_text(settings.grace) + "\n";
  text += "list_every = " + signing_duration_text(settings.list_every) + "\n";
  return text;
}

}  // namespace keyfs
