#include "fs/spire/plugin_settings.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <functional>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/aws/endpoint.h"
#include "base/crypto.h"
#include "base/encoding.h"
#include "base/environment.h"
#include "base/file.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "fs/spire/hcl.h"

namespace keyfs {
namespace {

constexpr size_t kMaxTags = 50;
constexpr size_t kMaxTagKey = 128;
constexpr size_t kMaxTagValue = 256;
constexpr size_t kMaxPolicy = 131'072;  // what KMS takes
constexpr size_t kMaxIdentifier = 256;
constexpr size_t kMaxSigningRegions = 16;

// Those that only custody "kms" has a use for.
constexpr std::array<std::string_view, 8> kOfKms = {
    "region",        "regions",           "endpoint",        "allow_plain_http",
    "access_key_id", "secret_access_key", "key_policy_file", "key_tags"};

class SettingsReader {
 public:
  SettingsReader(SecretArena& arena, ReadSettings& out)
      : arena_(arena), settings_(out.settings), mistakes_(out.mistakes) {}

  void take(const HclEntry& entry) {
    const std::string& name = entry.name;
    SpireSettings& s = settings_;
    std::string custody;
    std::string grace;
    if (name == "region") {
      text(entry, region_);
    } else if (name == "regions") {
      list(entry, s.regions);
    } else if (name == "endpoint") {
      text(entry, s.endpoint);
    } else if (name == "allow_plain_http") {
      flag(entry, s.allow_plain_http);
    } else if (name == "key_identifier_file") {
      text(entry, s.identifier_file);
    } else if (name == "key_identifier_value") {
      text(entry, s.identifier_value);
    } else if (name == "access_key_id") {
      text(entry, s.access_key_id);
    } else if (name == "secret_access_key") {
      secret(entry);
    } else if (name == "key_policy_file") {
      text(entry, s.policy_file);
    } else if (name == "key_tags") {
      tags(entry);
    } else if (name == "state_dir") {
      text(entry, s.state_dir);
    } else if (name == "config") {
      text(entry, s.config);
    } else if (name == "custody") {
      text(entry, custody);
      if (custody == "wrapped") {
        s.custody = SpireSettings::Custody::kWrapped;
      } else if (custody != "kms") {
        mistake(entry, "must be \"kms\" or \"wrapped\"");
      }
    } else if (name == "grace") {
      text(entry, grace);
      const auto parsed = parse_hcl_duration(grace);
      if (!parsed) {
        mistake(entry, "must be a time such as \"30s\", \"5m\" or \"1h\", at most \"720h\"");
      } else {
        s.grace = *parsed;
      }
    } else if (name == "key_metadata_file") {
      mistake(entry, "is not known any longer: write key_identifier_file, with the same file");
    } else {
      mistake(entry, "is not known");
    }
    seen_.push_back(name);
    lines_.push_back(entry.line);
  }

  // What several settings say together.
  void judge() {
    SpireSettings& s = settings_;
    if (s.identifier_file.empty() == s.identifier_value.empty() &&
        !among(broken_, "key_identifier_file") && !among(broken_, "key_identifier_value")) {
      say(s.identifier_file.empty()
              ? "one of key_identifier_file and key_identifier_value is required"
              : "key_identifier_file and key_identifier_value exclude each other");
    }
    judge_identifier();
    if (!s.state_dir.starts_with('/')) say("state_dir must be an absolute path");
    if (s.custody == SpireSettings::Custody::kWrapped) {
      for (size_t i = 0; i < seen_.size(); ++i) {
        if (!among(kOfKms, seen_[i])) continue;
        say("line " + std::to_string(lines_[i]) + ": " + seen_[i] +
            " has no use with custody = \"wrapped\": store and regions are those of config");
      }
      if (s.config.empty()) say("config must not be empty");
    } else {
      if (among(seen_, "config")) say("config has no use without custody = \"wrapped\"");
      judge_regions();
      if (s.access_key_id.empty() != s.secret_access_key.empty() &&
          !among(broken_, "access_key_id") && !among(broken_, "secret_access_key")) {
        say("access_key_id and secret_access_key must be set together");
      }
      judge_tags();
    }
  }

 private:
  void say(std::string what) { mistakes_.push_back(std::move(what)); }
  void mistake(const HclEntry& entry, const std::string& what) {
    broken_.push_back(entry.name);
    say("line " + std::to_string(entry.line) + ": " + entry.name + " " + what);
  }

  void text(const HclEntry& entry, std::string& out) {
    if (entry.kind != HclEntry::Kind::kScalar || entry.scalar.kind() != HclScalar::Kind::kText) {
      return mistake(entry, "must be a text in quotes");
    }
    out = entry.scalar.text();
    if (out.find('\0') != std::string::npos) {
      out.clear();
      mistake(entry, "holds a NUL byte");
    }
  }

  void secret(const HclEntry& entry) {
    if (entry.kind != HclEntry::Kind::kScalar || entry.scalar.kind() != HclScalar::Kind::kText) {
      return mistake(entry, "must be a text in quotes");
    }
    auto kept = entry.scalar.secret(arena_);
    if (!kept) return mistake(entry, "could not be kept: " + kept.error().message);
    settings_.secret_access_key = std::move(*kept);
  }

  void flag(const HclEntry& entry, bool& out) {
    if (entry.kind != HclEntry::Kind::kScalar || entry.scalar.kind() != HclScalar::Kind::kBool) {
      return mistake(entry, "must be true or false");
    }
    out = entry.scalar.is_true();
  }

  void list(const HclEntry& entry, std::vector<std::string>& out) {
    if (entry.kind != HclEntry::Kind::kList || entry.list.empty()) {
      return mistake(entry, "must be a list of texts, such as [\"us-east-1\", \"us-west-2\"]");
    }
    for (const HclScalar& scalar : entry.list) {
      if (scalar.kind() != HclScalar::Kind::kText) {
        return mistake(entry, "must be a list of texts, such as [\"us-east-1\", \"us-west-2\"]");
      }
      out.push_back(scalar.text());
    }
  }

  void tags(const HclEntry& entry) {
    if (entry.kind != HclEntry::Kind::kMap) {
      return mistake(entry, "must be a map, such as { team = \"pki\" }");
    }
    for (const auto& [key, value] : entry.map) settings_.tags.emplace_back(key, value.text());
  }

  void judge_identifier() {
    std::string& value = settings_.identifier_value;
    if (value.empty()) return;
    const bool good = std::all_of(value.begin(), value.end(), [](char c) {
      return is_alnum(c) || c == '/' || c == '_' || c == '-';
    });
    if (!good) {
      say("key_identifier_value must contain only letters, digits, forward slashes (/), "
          "underscores (_) and dashes (-)");
    }
    if (value.size() > kMaxIdentifier) {
      say("key_identifier_value must not be longer than 256 characters");
    }
    if (value.starts_with("alias/aws/")) {
      say("key_identifier_value must not start with alias/aws/");
    }
    // As aws_kms joins it into an alias.
    std::string joined;
    for (const char c : value) {
      if (c == '/' && (joined.empty() || joined.back() == '/')) continue;
      joined += c;
    }
    while (joined.ends_with('/')) joined.pop_back();
    if (joined.empty()) say("key_identifier_value must not consist of slashes");
    value = joined;
    settings_.server = std::move(joined);
  }

  void judge_regions() {
    auto& regions = settings_.regions;
    if (regions.empty()) {
      // One that is there, and is not a text, is a mistake once, not twice.
      if (among(broken_, "region") || among(broken_, "regions")) return;
      if (region_.empty()) return say("region is required");
      regions.push_back(region_);
    } else if (!region_.empty() && regions.front() != region_) {
      say("regions must begin with region, where keys are made");
    }
    if (regions.size() > kMaxSigningRegions) return say("regions names too many");
    for (size_t i = 0; i < regions.size(); ++i) {
      const std::string& region = regions[i];
      if (!is_aws_region_name(region)) {
        say((among(seen_, "regions") ? "regions" : "region") +
            std::string(" must name AWS regions, e.g. us-east-1"));
        return;
      }
      if (std::count(regions.begin(), regions.end(), region) > 1) {
        return say("regions names " + region + " twice");
      }
      if (!in_one_aws_partition(region, regions.front())) {
        return say("regions names " + regions.front() + " and " + region +
                   ", which are in two partitions of AWS: no key has replicas in both");
      }
    }
    for (const std::string& region : regions) {
      const auto url = aws_endpoint("kms", region, settings_.endpoint, process_environment(),
                                    settings_.allow_plain_http);
      if (!url) {
        return say(settings_.endpoint.empty() ? url.error().message
                                              : "endpoint " + url.error().message);
      }
    }
  }

  void judge_tags() {
    if (settings_.tags.size() > kMaxTags) say("key_tags holds more than 50 tags, KMS's limit");
    for (const auto& [key, value] : settings_.tags) {
      if (lower(key).starts_with("aws:")) say("key_tags: " + key + " begins with aws:");
      if (key.empty() || key.size() > kMaxTagKey) say("key_tags: a key has no or over 128 bytes");
      if (value.size() > kMaxTagValue) say("key_tags: the value of " + key + " is over 256 bytes");
    }
  }

  SecretArena& arena_;
  SpireSettings& settings_;
  std::vector<std::string>& mistakes_;
  std::string region_;
  std::vector<std::string> seen_;
  std::vector<std::string> broken_;  // those whose value is not of their form
  std::vector<size_t> lines_;
};

// https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#21-trust-domain; besides, what no
// DNS name is.
bool is_trust_domain(const std::string& name) {
  const bool dots = name.starts_with('.') || name.ends_with('.') || name.find("..") != name.npos;
  return !name.empty() && !dots && name.size() <= 255 &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return is_lower(c) || is_digit(c) || c == '.' || c == '-' || c == '_';
         });
}

std::string with_underscores(std::string text) {
  std::replace(text.begin(), text.end(), '.', '_');
  return text;
}

std::string os_reason(int why) { return std::generic_category().message(why); }

Result<std::string> new_uuid() {
  OsRandom random;
  std::array<uint8_t, 16> bytes{};
  if (auto ok = random.fill(bytes); !ok) return fail(ok.error());
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  std::string text = hex_encode(bytes);
  for (const size_t at : {8, 13, 18, 23}) text.insert(at, "-");
  return text;
}

void settle_identifier(ReadSettings& read, bool makes) {
  SpireSettings& s = read.settings;
  const auto say = [&](const std::string& what) {
    read.mistakes.push_back("key_identifier_file " + s.identifier_file + ": " + what);
  };
  // Twice: another process may have made it meanwhile.
  for (int round = 0; round < 2; ++round) {
    if (const auto text = read_to_end(s.identifier_file, 4096)) {
      auto id = parse_uuid(*text);
      if (!id) return say("does not hold a UUID");
      s.server = std::move(*id);
      return;
    }
    if (errno != ENOENT) return say(os_reason(errno));
    if (!makes) {
      struct stat about {};
      const std::string directory = directory_of(s.identifier_file);
      if (::stat(directory.c_str(), &about) != 0) {
        return say("does not exist, nor does its directory: " + os_reason(errno));
      }
      if (!S_ISDIR(about.st_mode)) return say(directory + " is not a directory");
      if (::access(directory.c_str(), W_OK) != 0) {
        return say("does not exist, and cannot be made: " + os_reason(errno));
      }
      return;
    }
    const auto id = new_uuid();
    if (!id) return say("could not be made: " + id.error().message);
    if (auto ok = write_whole_file(s.identifier_file, *id, /*take_place=*/false); !ok) {
      return say("does not exist, and could not be made: " + ok.error().message);
    }
  }
  say("could not be read after it was made");
}

void settle_policy(ReadSettings& read) {
  SpireSettings& s = read.settings;
  const auto say = [&](const std::string& what) {
    read.mistakes.push_back("key_policy_file " + s.policy_file + ": " + what);
  };
  auto text = read_to_end(s.policy_file, kMaxPolicy);
  if (!text) return say(errno == EFBIG ? "is longer than 128 KiB" : os_reason(errno));
  const auto json = parse_strict_json(*text, kMaxPolicy);
  if (!json) return say(json.error().message);
  if (!json->is_object()) return say("is not a JSON object");
  s.policy = std::move(*text);
}

}  // namespace

std::optional<std::string> parse_uuid(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return std::nullopt;
  text = text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
  if (text.size() != 36) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = lower(text[i]);
    if (dash ? c != '-' : !is_digit(c) && (c < 'a' || c > 'f')) return std::nullopt;
  }
  return lower(text);
}

std::optional<Duration> parse_hcl_duration(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  const char unit = text.back();
  text.remove_suffix(1);
  uint32_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  std::optional<Duration> out;
  if (unit == 's') out = std::chrono::seconds(count);
  if (unit == 'm') out = std::chrono::minutes(count);
  if (unit == 'h' && count <= 720) out = std::chrono::hours(count);
  if (!out || *out > std::chrono::hours(720)) return std::nullopt;
  return out;
}

ReadSettings read_settings(SecretArena& arena, const std::string& trust_domain,
                           std::string_view hcl) {
  ReadSettings out;
  out.settings.trust_domain = trust_domain;
  if (!is_trust_domain(trust_domain)) {
    out.mistakes.emplace_back(trust_domain.empty() ? "the trust domain is missing"
                                                   : "the trust domain is not one");
  }
  auto document = parse_hcl(hcl);
  if (!document) {
    out.mistakes.push_back("the configuration could not be read: " + document.error().message);
    return out;
  }
  out.mistakes.insert(out.mistakes.end(), document->mistakes.begin(), document->mistakes.end());
  SettingsReader reader(arena, out);
  for (const HclEntry& entry : document->entries) reader.take(entry);
  reader.judge();
  return out;
}

void settle_files(ReadSettings& read, bool makes) {
  // A file is not made for a configuration that cannot be used.
  if (!read.settings.policy_file.empty()) settle_policy(read);
  if (!read.settings.identifier_file.empty()) {
    settle_identifier(read, makes && read.mistakes.empty());
  }
}

std::string together(const std::vector<std::string>& mistakes) {
  std::string out;
  for (const std::string& mistake : mistakes) (out += out.empty() ? "" : "; ") += mistake;
  return out;
}

std::string alias_prefix_of_domain(const SpireSettings& settings) {
  return "alias/SPIRE_SERVER/" + with_underscores(settings.trust_domain) + "/";
}
std::string alias_prefix_of_server(const SpireSettings& settings) {
  return alias_prefix_of_domain(settings) + settings.server + "/";
}
std::string former_description_prefix(const SpireSettings& settings) {
  return "SPIRE_SERVER_KEY/" + with_underscores(settings.trust_domain) + "/";
}
// The trust domain as it is, so that keys without a name can be told from those of a trust domain
// that differs only in what "." became.
std::string description_prefix(const SpireSettings& settings) {
  return "SPIRE_SERVER_KEY/" + settings.trust_domain + "/";
}

}  // namespace keyfs
