#include "kms/factory.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/config_reader.h"
#include "kms/local_region.h"
#include "kms/master_key.h"

namespace keyfs {
namespace {

Result<std::unique_ptr<Region>> local_from(const ConfigSection& section, const RegionParts& parts) {
  ConfigReader in(section);
  in.required("type");
  const std::string key_file = in.required("key_file");
  if (!key_file.empty() && key_file.front() != '/') {
    in.mistake("key_file", "must be an absolute path");
  }
  std::vector<std::string> previous = in.list("previous_key_files");
  for (const std::string& file : previous) {
    if (file.front() != '/') in.mistake("previous_key_files", file + " must be an absolute path");
    if (file == key_file) {
      in.mistake("previous_key_files", "names key_file itself, which holds the present master");
    }
  }
  if (auto ok = in.finish(); !ok) return fail(std::move(ok.error()));
  return make_local_region(parts, section.argument(), key_file, std::move(previous));
}

Result<std::unique_ptr<Region>> aws_from(const ConfigSection& section, const RegionParts& parts) {
  if (!parts.aws) return fail(section.mistake("type", "aws regions cannot be used here"));
  return parts.aws(section);
}

struct Kind {
  std::string_view type;
  Result<std::unique_ptr<Region>> (*make)(const ConfigSection&, const RegionParts&);
};
// A new kind of region is one line here.
constexpr Kind kKinds[] = {
    {"aws", aws_from},
    {"local", local_from},
};

Result<std::unique_ptr<Region>> from_section(const ConfigSection& section,
                                             const RegionParts& parts) {
  const auto* type = section.find("type");
  std::string names;
  for (const Kind& kind : kKinds) {
    if (type != nullptr && type->value == kind.type) return kind.make(section, parts);
    names += (names.empty() ? "" : " or ") + std::string(kind.type);
  }
  if (type == nullptr) return fail(missing_key(section, "type", names));
  return fail(section.mistake("type", "unknown type " + type->value + ": " + names));
}

// Two regions of one master are one region: all of a key's wraps would depend on it. (An alias or a
// bare key id may stand for another key in each AWS region.)
std::optional<Error> same_master(const ConfigSection& section, const ConfigSection& other) {
  for (const char* name : {"key_file", "key"}) {
    const auto* here = section.find(name);
    const auto* there = other.find(name);
    if (here == nullptr || there == nullptr || here->value != there->value) continue;
    if (std::string_view(name) == "key" && !here->value.starts_with("arn:")) continue;
    return section.mistake(name, "is the master key of [region " + other.argument() +
                                     "] as well: each region needs one of its own");
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<std::unique_ptr<Region>>> make_regions(const ConfigFile& config,
                                                          const RegionParts& parts) {
  std::vector<std::unique_ptr<Region>> regions;
  for (const ConfigSection* section : config.all("region")) {
    for (const ConfigSection* other : config.all("region")) {
      if (other == section) break;
      if (auto mistake = same_master(*section, *other)) return fail(std::move(*mistake));
    }
    auto region = from_section(*section, parts);
    if (!region) return fail(std::move(region.error()));
    regions.push_back(std::move(*region));
  }
  if (regions.empty()) {
    return fail(Code::kInvalid,
                config.name() + ": no [region NAME] section; at least one is needed");
  }
  return regions;
}

std::unique_ptr<Region> make_local_region(const RegionParts& parts, std::string name,
                                          std::string key_file, std::vector<std::string> previous) {
  std::vector<std::unique_ptr<MasterSource>> before;
  for (std::string& file : previous) {
    before.push_back(std::make_unique<MasterFile>(parts.loop, parts.arena, std::move(file)));
  }
  return std::make_unique<LocalRegion>(
      parts.loop, parts.arena, parts.random, std::move(name),
      std::make_unique<MasterFile>(parts.loop, parts.arena, std::move(key_file)),
      std::move(before));
}

}  // namespace keyfs
