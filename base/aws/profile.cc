#include "base/aws/profile.h"

#include <set>
#include <utility>
#include <vector>

#include "base/aws/shell_words.h"
#include "base/secret_file.h"
#include "base/text.h"

namespace keyfs {
namespace {

constexpr std::string_view kBlanks = " \t\v\f\x1c\x1d\x1e\x1f";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// One of the two. Secrets are only in locked memory.
struct Value {
  std::string text;
  SecretBytes secret;
};
using Entries = std::map<std::string, Value>;

bool is_secret(std::string_view name) {
  return name == "aws_secret_access_key" || name == "aws_session_token" ||
         name == "aws_security_token";
}

// One file, by the rules of Python's RawConfigParser.
class Parser {
 public:
  Parser(SecretArena& arena, const std::string& file_name)
      : arena_(arena), file_name_(file_name), value_(arena) {}

  Result<void> run(std::string_view text) {
    while (!text.empty()) {
      ++line_;
      const size_t end = text.find_first_of("\r\n");
      const std::string_view line = text.substr(0, end);
      if (auto ok = take(line); !ok) return ok;
      if (end == text.npos) break;
      text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
    }
    if (auto ok = close_entry(); !ok) return ok;
    return add_defaults();
  }

  // In the order of the file.
  std::vector<std::pair<std::string, Entries>>& sections() { return sections_; }

 private:
  Result<void> mistake(int line, const char* what) const {
    return fail(Code::kInvalid, file_name_ + ":" + std::to_string(line) + ": " + what);
  }

  Result<void> take(std::string_view whole) {
    const std::string_view line = trimmed(whole);
    if (line.starts_with('#') || line.starts_with(';')) return {};
    if (line.empty()) return open_ ? value_.append("\n") : Result<void>();
    const size_t indent = whole.find_first_not_of(kBlanks);
    if (open_ && indent > indent_) {
      return value_.append("\n").and_then([&] { return value_.append(line); });
    }
    indent_ = indent;
    if (auto ok = close_entry(); !ok) return ok;
    if (const size_t close = line.rfind(']');
        line.front() == '[' && close != line.npos && close > 1) {
      return begin_section(std::string(line.substr(1, close - 1)));
    }
    if (entries_ == nullptr) return mistake(line_, "an entry before the first section");
    const size_t separator = line.find_first_of("=:");
    if (separator == line.npos) {
      return mistake(line_, line.front() == '['
                                ? "a section without ]"
                                : "neither a section, nor a comment, nor name = value");
    }
    name_ = lower(trimmed(line.substr(0, separator)));
    if (name_.empty()) return mistake(line_, "a value without a name");
    if (!seen_.insert(section_ + '\n' + name_).second) {
      return mistake(line_, "this name is in the section twice");
    }
    open_ = true;
    opened_ = line_;
    return value_.append(trimmed(line.substr(separator + 1)));
  }

  Result<void> begin_section(std::string name) {
    section_ = std::move(name);
    if (section_ == "DEFAULT") {
      entries_ = &defaults_;
      return {};
    }
    if (!titles_.insert(section_).second) return mistake(line_, "this section appears twice");
    sections_.emplace_back(section_, Entries());
    entries_ = &sections_.back().second;
    return {};
  }

  Result<void> close_entry() {
    if (!std::exchange(open_, false)) return {};
    std::string_view text = value_.reveal_text();
    while (text.ends_with('\n')) text.remove_suffix(1);  // each line is trimmed already
    // A value that begins on the next line is a nested block of settings, none of which we need.
    if (text.starts_with('\n')) {
      for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = text.substr(at, end - at);
        if (!line.empty() && line.find('=') == line.npos) {
          return mistake(opened_, "neither a value, nor lines of name = value");
        }
        at = end + 1;
      }
      value_.clear();
      return {};
    }
    const size_t size = text.size();
    Value& value = (*entries_)[name_];
    if (is_secret(name_)) {
      value.secret = value_.take();
      if (size < value.secret.size()) value.secret.truncate(size);
    } else {
      value.text = text;
    }
    value_.clear();
    return {};
  }

  Result<void> add_defaults() {
    for (auto& [title, entries] : sections_) {
      for (const auto& [name, value] : defaults_) {
        if (entries.contains(name)) continue;
        auto secret = arena_.copy_of(value.secret.reveal());
        if (!secret) return fail(secret.error());
        entries[name] = Value{value.text, std::move(*secret)};
      }
    }
    return {};
  }

  SecretArena& arena_;
  const std::string& file_name_;
  int line_ = 0;
  std::vector<std::pair<std::string, Entries>> sections_;
  Entries defaults_;
  std::set<std::string> titles_;
  std::set<std::string> seen_;
  std::string section_;
  Entries* entries_ = nullptr;  // of the section; null before the first
  size_t indent_ = 0;           // of the last line that was not a continuation
  bool open_ = false;           // an entry may continue
  int opened_ = 0;              // its line
  std::string name_;
  SecretBuffer value_;
};

// The name of the profile that a section describes; nullopt for sections of other kinds.
std::optional<std::string> profile_of(const std::string& title, bool is_config) {
  if (!is_config || title == "default") return title;
  if (!title.starts_with("profile")) return std::nullopt;
  auto words = shell_words(title);
  if (!words || words->size() != 2) return std::nullopt;
  return std::move((*words)[1]);
}

void add(Entries& entries, AwsProfile& profile, AwsProfileKeys& keys) {
  for (auto& [name, value] : entries) {
    if (name == "aws_secret_access_key") {
      keys.secret_access_key = std::move(value.secret);
      keys.has_secret = true;
    } else if (name == "aws_session_token") {
      keys.session_token = std::move(value.secret);
    } else if (name == "aws_security_token") {
      keys.security_token = std::move(value.secret);
    } else if (name == "aws_access_key_id") {
      keys.access_key_id = std::move(value.text);
    } else {
      profile.settings[name] = std::move(value.text);
    }
  }
}

}  // namespace

const std::string& AwsProfile::get(const std::string& name) const {
  static const std::string kNone;
  const auto it = settings.find(name);
  return it == settings.end() ? kNone : it->second;
}

AwsProfileFiles aws_profile_files(const Environment& environment, const std::string& home) {
  const std::string root = (home.empty() ? environment("HOME").value_or("") : home) + "/";
  const auto path = [&](const char* variable, const char* usual) {
    const std::string given = environment(variable).value_or(usual);
    return given.starts_with("~/") ? root + given.substr(2) : given;
  };
  AwsProfileFiles files;
  files.config = path("AWS_CONFIG_FILE", "~/.aws/config");
  files.credentials = path("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
  return files;
}

Result<void> parse_aws_profiles(SecretArena& arena, std::string_view text,
                                const std::string& file_name, bool is_config,
                                AwsProfiles& profiles) {
  Parser parser(arena, file_name);
  if (auto ok = parser.run(text); !ok) return ok;
  for (auto& [title, entries] : parser.sections()) {
    const auto name = profile_of(title, is_config);
    if (!name) continue;
    AwsProfile& profile = profiles[*name];
    if (is_config) profile = AwsProfile();  // [profile a] and [profile "a"]: the last one counts
    add(entries, profile, is_config ? profile.in_config : profile.in_credentials);
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
