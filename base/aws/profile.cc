#include "base/aws/profile.h"

#include <optional>

#include "base/secret_file.h"

namespace keyfs {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

// A comment may follow a value after a blank.
std::string_view without_comment(std::string_view text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if ((text[i] == '#' || text[i] == ';') && (text[i - 1] == ' ' || text[i - 1] == '\t')) {
      return trimmed(text.substr(0, i));
    }
  }
  return text;
}

// The profile that a section line begins; nullopt for sections of other kinds.
std::optional<std::string> profile_of(std::string_view title, bool is_config) {
  title = trimmed(title);
  if (!is_config || title == "default") return std::string(title);
  if (!title.starts_with("profile") || title.size() < 8 || (title[7] != ' ' && title[7] != '\t')) {
    return std::nullopt;
  }
  title = trimmed(title.substr(8));
  if (title.size() >= 2 && (title.front() == '"' || title.front() == '\'') &&
      title.front() == title.back()) {
    title = title.substr(1, title.size() - 2);
  }
  return std::string(title);
}

}  // namespace

const std::string& AwsProfile::get(const std::string& name) const {
  static const std::string kNone;
  const auto it = settings.find(name);
  return it == settings.end() ? kNone : it->second;
}

AwsProfileFiles aws_profile_files(const Environment& environment, const std::string& home) {
  const std::string folder = (home.empty() ? environment("HOME").value_or("") : home) + "/.aws/";
  AwsProfileFiles files;
  files.config = environment("AWS_CONFIG_FILE").value_or(folder + "config");
  files.credentials = environment("AWS_SHARED_CREDENTIALS_FILE").value_or(folder + "credentials");
  return files;
}

Result<void> parse_aws_profiles(SecretArena& arena, std::string_view text,
                                const std::string& file_name, bool is_config,
                                AwsProfiles& profiles) {
  AwsProfile* profile = nullptr;
  bool in_section = false;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view whole = text.substr(0, end);
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
    const std::string_view line = trimmed(whole);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    const auto mistake = [&](const char* what) {
      return fail(Code::kInvalid, file_name + ":" + std::to_string(number) + ": " + what);
    };
    if (line.front() == '[') {
      const size_t close = line.find(']');
      if (close == std::string_view::npos) return mistake("a section without ]");
      in_section = true;
      const auto name = profile_of(line.substr(1, close - 1), is_config);
      profile = name ? &profiles[*name] : nullptr;
      continue;
    }
    if (!in_section) return mistake("an entry before the first section");
    if (whole.front() == ' ' || whole.front() == '\t') continue;  // nested under the entry before
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      return mistake("neither a section, nor a comment, nor name = value");
    }
    if (profile == nullptr) continue;
    const std::string name(trimmed(line.substr(0, equals)));
    const std::string_view value = without_comment(trimmed(line.substr(equals + 1)));
    if (name == "aws_secret_access_key" || name == "aws_session_token") {
      auto secret = arena.copy_of(value);
      if (!secret) return fail(secret.error());
      (name == "aws_session_token" ? profile->session_token : profile->secret_access_key) =
          std::move(*secret);
    } else {
      profile->settings[name] = value;
    }
  }
  return {};
}

Result<AwsProfiles> read_aws_profiles(SecretArena& arena, const AwsProfileFiles& files) {
  AwsProfiles profiles;
  for (const bool is_config : {true, false}) {
    const std::string& path = is_config ? files.config : files.credentials;
    auto text = read_secret_file(arena, path);
    if (!text) return fail(text.error());
    if (!*text) continue;
    auto ok = parse_aws_profiles(arena, (*text)->reveal_text(), path, is_config, profiles);
    if (!ok) return fail(ok.error());
  }
  return profiles;
}

}  // namespace keyfs
