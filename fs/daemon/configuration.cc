#include "fs/daemon/configuration.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/private_file.h"
#include "kms/master_key.h"
#include "store/known_store.h"

namespace keyfs {
namespace {

namespace fs = std::filesystem;

std::string reason() { return std::generic_category().message(errno); }

Result<ConfigFile> read_file(const ConfigurationSource& source) {
  if (source.embedded.empty()) return ConfigFile::read(absolute_path(source.config));
  auto text = embedded_config(absolute_path(source.embedded), ::geteuid());
  if (!text) return fail(text.error());
  return ConfigFile::parse(*text, std::string(kNoConfigFile));
}

Result<void> check_directory(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) {
    return fail(Code::kInvalid, path + ": " + reason() +
                                    (errno == ENOENT ? "; keyfs mount --embedded creates it" : ""));
  }
  if (!S_ISDIR(found.st_mode)) return fail(Code::kInvalid, path + " is not a directory");
  if (auto trusted = check_guard(path, found, Guard::kOurs); !trusted) {
    return fail(Code::kInvalid, trusted.error().message);
  }
  return {};
}

Result<void> make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);  // umask 077: mode 0700
  if (error) return fail(Code::kUnavailable, "could not create " + path + ": " + error.message());
  return {};
}

// A whole number of the largest unit that fits, as in the configuration.
std::string milliseconds(Settings::Milliseconds time) {
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

// Folded into several lines, as long values are written.
std::string folded(const std::string& words) {
  constexpr size_t kWidth = 100;
  std::string text;
  size_t width = 15;
  std::istringstream all(words);
  for (std::string word; all >> word; width += word.size() + 1) {
    if (width + word.size() > kWidth) {
      text += "\n ";
      width = 1;
    }
    text += " " + word;
  }
  return text + "\n";
}

// [keyfs], without what belongs to the policy.
std::string settings_text(const Settings& s) {
  const auto yes = [](bool is) { return is ? "yes" : "no"; };
  std::string text = "[keyfs]\n";
  text += "state_dir = " + s.state_dir + "\n";
  text += "key_bytes = " + std::to_string(s.key_bytes) + "\n";
  text += "fresh_for = " + milliseconds(s.fresh_for) + "\n";
  text += "serve_stale_for = " + milliseconds(s.serve_stale_for) + "\n";
  text += "open_deadline = " + milliseconds(s.open_deadline) + "\n";
  text += "create_min_regions = " + std::to_string(s.create_min_regions) + "\n";
  switch (s.audit_to) {
    case AuditTo::kOff:
      text += "audit = off\n";
      break;
    case AuditTo::kJournal:
      text += "audit = journal\n";
      break;
    case AuditTo::kFile:
      text += "audit = " + s.audit_path +
              "\naudit_group_readable = " + yes(s.audit_group_readable) + "\n";
      break;
  }
  text += std::string("audit_required = ") + yes(s.audit_required) + "\n";
  text += "log_level = " + std::string(to_string(s.log_level)) + "\n";
  text +=
      std::string("log_format = ") + (s.log_format == LogFormat::kJson ? "json" : "logfmt") + "\n";
  text += "cache_keys = " + std::to_string(s.cache_keys) + "\n";
  text += "waiting_opens = " + std::to_string(s.waiting_opens) + "\n";
  text += "creates_per_second = " + std::to_string(s.creates_per_second) + "\n";
  text += "list_cache_for = " + milliseconds(s.list_cache_for) + "\n";
  text += "background_calls_per_second = " + std::to_string(s.background_calls_per_second) + "\n";
  return text;
}

// The lines of a section, without its title.
using Entries = std::vector<std::pair<std::string, std::string>>;
void add_lines(const std::string& text, const std::string& before, Entries& entries) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t equals = line.find(" = ");
    if (equals == std::string::npos) continue;
    entries.emplace_back(before + line.substr(0, equals), line.substr(equals + 3));
  }
}

// Whether what is written in such a section stays in force as it is written. The others are reloaded,
// or have defaults.
bool is_fixed(std::string_view kind) {
  return kind != "keyfs" && kind != "rotation" && kind != "signing" && kind != "consumer" &&
         kind != "keys" && kind != "sign" && kind != "admin";
}

// What stays in force until a restart, by name. Without the policy, which the daemon has moved out.
Entries fixed_entries(const Configuration& configuration) {
  Entries entries;
  add_lines(settings_text(configuration.settings), "", entries);
  add_lines(rotation_settings_text(configuration.rotation), "[rotation] ", entries);
  add_lines(signing_settings_text(configuration.signing), "[signing] ", entries);
  if (signs(configuration.file)) entries.emplace_back("[sign ...]", "");
  for (const ConfigSection& section : configuration.file.sections()) {
    if (!is_fixed(section.kind())) continue;
    for (const auto& entry : section.entries()) {
      entries.emplace_back(section.title() + " " + entry.key, entry.value);
    }
  }
  return entries;
}

}  // namespace

std::string store_file(const Configuration& configuration) {
  const ConfigSection* store = configuration.file.find("store");
  const auto* path = store == nullptr ? nullptr : store->find("path");
  return path == nullptr ? "" : path->value;
}

bool all_local(const ConfigFile& file) {
  const auto is = [](const ConfigSection* section, std::string_view type) {
    const auto* found = section == nullptr ? nullptr : section->find("type");
    return found != nullptr && found->value == type;
  };
  const auto regions = file.all("region");
  return is(file.find("store"), "sqlite") &&
         std::all_of(regions.begin(), regions.end(),
                     [&](const ConfigSection* region) { return is(region, "local"); });
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  std::string whole = fs::absolute(path, error).string();
  if (error) return path;
  while (whole.size() > 1 && whole.back() == '/') whole.pop_back();
  return whole;
}

Result<Configuration> load_configuration(const ConfigurationSource& source) {
  auto file = read_file(source);
  if (!file) return fail(file.error());
  if (auto ok = check_sections(*file); !ok) return fail(ok.error());
  auto settings = read_settings(*file, file->all("region").size());
  if (!settings) return fail(settings.error());
  auto rotation = read_rotation_settings(*file);
  if (!rotation) return fail(rotation.error());
  auto signing = read_signing_settings(*file);
  if (!signing) return fail(signing.error());
  SystemNames names;
  auto policy = Policy::load(*file, names);
  if (!policy) return fail(policy.error());
  auto consumers = ConsumerRules::load(*file, names);
  if (!consumers) return fail(consumers.error());
  return Configuration{std::move(*file),
                       std::move(*settings),
                       std::move(*rotation),
                       std::move(*policy),
                       source.embedded.empty() ? "" : absolute_path(source.embedded),
                       std::move(*consumers),
                       std::move(*signing)};
}

std::vector<std::string> needs_restart(const Configuration& before, const Configuration& after) {
  const Entries old = fixed_entries(before);
  const Entries now = fixed_entries(after);
  const auto value_in = [](const Entries& entries, const std::string& name) -> const std::string* {
    for (const auto& [known, value] : entries) {
      if (known == name) return &value;
    }
    return nullptr;
  };
  std::vector<std::string> names;
  for (const auto& [name, value] : now) {
    const std::string* was = value_in(old, name);
    if (was == nullptr || *was != value) names.push_back(name);
  }
  for (const auto& [name, value] : old) {
    if (value_in(now, name) == nullptr) names.push_back(name);
  }
  return names;
}

Result<void> check_embedded(const Configuration& configuration) {
  const std::string& dir = configuration.embedded;
  if (auto ok = check_directory(dir); !ok) return ok;
  std::error_code error;
  if (fs::exists(store_file(configuration), error)) return {};
  return fail(Code::kInvalid, dir + " holds no keys; `keyfs mount --embedded` sets it up");
}

Result<void> prepare_embedded(const Configuration& configuration, SecretArena& arena,
                              Random& random) {
  const std::string& dir = configuration.embedded;
  std::error_code error;
  const bool there = fs::exists(dir, error);
  if (auto made = make_directory(dir); !made) return made;
  if (auto ok = check_directory(dir); !ok) return ok;
  if (there && fs::is_empty(dir, error) && ::chmod(dir.c_str(), 0700) != 0) {
    return fail(Code::kUnavailable, "could not restrict " + dir + " to its owner: " + reason());
  }
  const std::string& state_dir = configuration.settings.state_dir;
  if (auto made = make_directory(state_dir); !made) return made;
  // There is or was a store.
  const auto known = read_known_store(state_dir);
  if (!known) return fail(known.error());
  if (*known || fs::exists(store_file(configuration), error)) return {};
  for (const ConfigSection* region : configuration.file.all("region")) {
    const auto* key_file = region->find("key_file");
    if (key_file == nullptr) continue;
    const std::string folder = fs::path(key_file->value).parent_path().string();
    auto made = make_directory(folder);
    if (made) {
      if (auto master = create_master_file(key_file->value, arena, random); !master)
        made = fail(master.error());
    }
    if (made) continue;
    // Removes what is empty; a master that was created is kept, for the next attempt.
    fs::remove(folder, error);
    fs::remove(state_dir, error);
    if (!there) fs::remove(dir, error);
    return made;
  }
  return {};
}

std::string effective_text(const Configuration& configuration) {
  std::string text = settings_text(configuration.settings);
  text += "never_create =" + folded(configuration.policy->never_create().text());
  text += "\n" + rotation_settings_text(configuration.rotation);
  if (signs(configuration.file) || configuration.file.find("signing") != nullptr) {
    text += "\n" + signing_settings_text(configuration.signing);
  }
  for (const ConfigSection& section : configuration.file.sections()) {
    if (section.kind() == "keyfs" || section.kind() == "rotation" || section.kind() == "signing") {
      continue;
    }
    text += "\n" + section.title() + "\n";
    for (const auto& entry : section.entries()) text += entry.key + " = " + entry.value + "\n";
  }
  return text;
}

}  // namespace keyfs
