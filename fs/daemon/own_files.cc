#include "fs/daemon/own_files.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/config_reader.h"

namespace keyfs {
namespace {

namespace fs = std::filesystem;

struct Place {
  std::string what;
  std::string path;
  bool directory = false;  // and all of it is ours
};

// As far as the path is there, with no symbolic link in it.
fs::path resolved(const std::string& path) {
  std::error_code error;
  fs::path whole = fs::weakly_canonical(path, error);
  if (error) whole = fs::path(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

// `inner` is `outer`, or lies below it.
bool is_within(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

std::vector<Place> places_of(const Configuration& configuration, const std::string& config_file) {
  std::vector<Place> all;
  if (!configuration.embedded.empty()) {
    all.push_back({"the directory of --embedded", configuration.embedded, true});
  }
  if (!config_file.empty()) all.push_back({"the configuration", config_file});
  all.push_back({"state_dir", configuration.settings.state_dir, true});
  if (configuration.settings.audit_to == AuditTo::kFile) {
    all.push_back({"audit", configuration.settings.audit_path});
  }
  if (!configuration.rotation.webhook_file.empty()) {
    all.push_back({"[rotation] webhook_file", configuration.rotation.webhook_file});
  }
  for (const ConfigSection& section : configuration.file.sections()) {
    if (section.kind() != "store" && section.kind() != "region") continue;
    for (const char* name : {"path", "key_file", "ca", "cert", "key", "password_file"}) {
      const auto* entry = section.find(name);
      if (entry == nullptr || !entry->value.starts_with('/')) continue;
      all.push_back({section.title() + " " + name, entry->value});
    }
    if (section.find("previous_key_files") == nullptr) continue;
    ConfigReader in(section);
    for (std::string& file : in.list("previous_key_files")) {
      all.push_back({section.title() + " previous_key_files", std::move(file)});
    }
  }
  return all;
}

}  // namespace

Result<void> check_hides_nothing_of_ours(const std::string& mountpoint,
                                         const Configuration& configuration,
                                         const std::string& config_file) {
  const fs::path mount = mountpoint;
  for (const Place& place : places_of(configuration, config_file)) {
    const fs::path ours = resolved(place.path);
    const bool below = is_within(ours, mount);
    if (!below && !(place.directory && is_within(mount, ours))) continue;
    return fail(Code::kInvalid, "cannot mount on " + mountpoint + ": " +
                                    (below ? "the mount would hide " : "it lies in ") + place.what +
                                    " (" + place.path +
                                    "), which keyfs itself works with; mount on another directory");
  }
  return {};
}

}  // namespace keyfs
