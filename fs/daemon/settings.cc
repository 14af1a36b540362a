#include "fs/daemon/settings.h"

#include <algorithm>

#include "base/config_reader.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Milliseconds = Settings::Milliseconds;

bool is_absolute(const std::string& path) { return !path.empty() && path[0] == '/'; }

void read_audit(ConfigReader& in, Settings& settings) {
  const std::string audit = in.string("audit", "journal");
  if (audit == "off") {
    settings.audit_to = AuditTo::kOff;
  } else if (audit == "journal") {
    settings.audit_to = AuditTo::kJournal;
  } else if (is_absolute(audit)) {
    settings.audit_to = AuditTo::kFile;
    settings.audit_path = audit;
  } else {
    in.mistake("audit", "\"" + audit + "\" is neither an absolute path, nor journal, nor off");
  }
  settings.audit_group_readable = in.boolean("audit_group_readable", false);
  if (settings.audit_to != AuditTo::kFile) {
    in.not_here({"audit_group_readable"}, "is only for an audit that goes to a file");
  }
  settings.audit_required = in.boolean("audit_required", false);
  if (settings.audit_required && settings.audit_to == AuditTo::kOff) {
    in.mistake("audit_required", "the audit is off, so no key could be handed out");
  }
}

void read_times(ConfigReader& in, Settings& settings) {
  settings.fresh_for = in.duration("fresh_for", settings.fresh_for, 0ms, 24h);
  settings.serve_stale_for =
      in.duration("serve_stale_for", settings.serve_stale_for, 0ms, 24h * 30);
  // A fresh key is served without asking; a shorter limit would promise what is not kept.
  if (settings.serve_stale_for < settings.fresh_for) {
    in.mistake(in.section().find("serve_stale_for") != nullptr ? "serve_stale_for" : "fresh_for",
               "serve_stale_for must not be shorter than fresh_for");
  }
  settings.open_deadline = in.duration("open_deadline", settings.open_deadline, 100ms, 10min);
  settings.list_cache_for = in.duration("list_cache_for", settings.list_cache_for, 0ms, 1h);
}

}  // namespace

Result<Settings> read_settings(const ConfigFile& file, size_t regions) {
  Settings settings;
  settings.create_min_regions = std::min<size_t>(2, regions);
  const ConfigSection none(file.name(), "keyfs", "", 1);
  const ConfigSection* found = file.find("keyfs");
  ConfigReader in(found != nullptr ? *found : none);

  settings.state_dir = in.string("state_dir", settings.state_dir);
  if (!is_absolute(settings.state_dir)) {
    in.mistake("state_dir", "\"" + settings.state_dir + "\" is not an absolute path");
  }
  settings.key_bytes = static_cast<uint32_t>(in.integer("key_bytes", 32, 16, 1024));
  read_times(in, settings);
  const int64_t least =
      in.integer("create_min_regions", static_cast<int64_t>(settings.create_min_regions), 1, 64);
  settings.create_min_regions = static_cast<size_t>(least);
  if (in.section().find("create_min_regions") != nullptr && settings.create_min_regions > regions) {
    in.mistake("create_min_regions", "asks for " + std::to_string(least) + " regions, but only " +
                                         std::to_string(regions) + " are configured");
  }
  in.string("never_create");  // read by the policy
  read_audit(in, settings);
  settings.log_level =
      *log_level_from(in.choice("log_level", {"debug", "info", "warn", "error"}, "info"));
  settings.log_format = in.choice("log_format", {"logfmt", "json"}, "logfmt") == "json"
                            ? LogFormat::kJson
                            : LogFormat::kLogfmt;
  settings.cache_keys = static_cast<size_t>(in.integer("cache_keys", 1'000'000, 1, 100'000'000));
  settings.waiting_opens = static_cast<size_t>(in.integer("waiting_opens", 16'384, 1, 1'000'000));
  settings.creates_per_second =
      static_cast<unsigned>(in.integer("creates_per_second", 50, 1, 100'000));
  // The second is its old name.
  const auto paced = in.integer("background_calls_per_second", 1, 10'000);
  const auto healing = in.integer("heal_calls_per_second", 1, 10'000);
  if (paced && healing) {
    in.mistake("heal_calls_per_second",
               "is the old name of background_calls_per_second, which is set as well");
  }
  settings.background_calls_per_second = static_cast<unsigned>(paced.value_or(healing.value_or(5)));
  if (auto ok = in.finish(); !ok) return fail(ok.error());
  return settings;
}

Result<void> check_sections(const ConfigFile& file) {
  return file.check_kinds({{"keyfs", false},
                           {"store", false},
                           {"region", true},
                           {"consumer", true},
                           {"rotation", false},
                           {"signing", false},
                           {"keys", true},
                           {"sign", true},
                           {"admin", false}});
}

Result<std::string> embedded_config(const std::string& dir, uid_t user) {
  const auto unfit = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (!is_absolute(dir) || std::any_of(dir.begin(), dir.end(), unfit) ||
      dir.find(" ;") != dir.npos || dir.find(" #") != dir.npos || dir.back() == ' ') {
    return fail(Code::kInvalid,
                "the path of the embedded directory must be absolute and hold no "
                "control characters, no \" ;\" and no \" #\"");
  }
  // The longest line is a region's key_file.
  constexpr size_t kAround = std::string_view("key_file = /masters/local-a.key").size();
  if (dir.size() + kAround > ConfigFile::kMaxLine) {
    return fail(Code::kInvalid, "the path of the embedded directory is too long: at most " +
                                    std::to_string(ConfigFile::kMaxLine - kAround) + " bytes");
  }
  const std::string uid = "uid:" + std::to_string(user);
  std::string text;
  text += "[keyfs]\nstate_dir = " + dir + "/state\naudit = " + dir + "/audit.jsonl\n";
  text += "[store]\ntype = sqlite\npath = " + dir + "/keys.db\n";
  for (const std::string_view name : {"local-a", "local-b", "local-c"}) {
    text += "[region " + std::string(name) + "]\ntype = local\nkey_file = " + dir + "/masters/" +
            std::string(name) + ".key\n";
  }
  text += "[keys *]\nread = " + uid + "\ncreate = " + uid + "\nadmin = " + uid + "\n";
  text +=
      "[sign *]\nuse = " + uid + "\nsee = " + uid + "\ncreate = " + uid + "\nadmin = " + uid + "\n";
  text += "[admin]\nread = " + uid + "\n";
  return text;
}

}  // namespace keyfs
