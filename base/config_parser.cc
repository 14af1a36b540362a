#include "base/config.h"

#include <ini.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/text.h"

namespace keyfs {
namespace {

constexpr std::string_view kBlanks = " \t";

bool is_blank(char c) { return c == ' ' || c == '\t'; }

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// Text from the file for a message: on one line, and not too long.
std::string shown(std::string_view text) {
  constexpr size_t kMost = 60;
  std::string result;
  for (const char c : text.substr(0, kMost)) {
    if (is_control(c) || static_cast<unsigned char>(c) >= 0x80) {
      char escaped[8];
      (void)std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(c));
      result += escaped;
    } else {
      result += c;
    }
  }
  return text.size() > kMost ? result + "..." : result;
}

bool is_key(std::string_view text) {
  return text.size() <= ConfigFile::kMaxKey && is_name(text, "_");
}

// The position of a ";" that starts a comment: the first one after a blank.
size_t comment_start(std::string_view line) {
  for (size_t i = 1; i < line.size(); ++i) {
    if (line[i] == ';' && is_blank(line[i - 1])) return i;
  }
  return line.npos;
}

std::string where(const std::string& file, int line) {
  return file + ":" + std::to_string(line) + ": ";
}

}  // namespace

// Feeds inih line by line, so that the line of each callback is known, and withholds what it would
// silently misread. inih splits an entry's line into key and value.
class ConfigParser {
 public:
  ConfigParser(std::string_view text, std::string file_name) : text_(text) {
    file_.name_ = std::move(file_name);
  }

  Result<ConfigFile> run() {
    if (text_.size() > ConfigFile::kMaxBytes) {
      return fail(Code::kInvalid, file_.name_ + ": is larger than " +
                                      std::to_string(ConfigFile::kMaxBytes) +
                                      " bytes, too large for a configuration");
    }
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
    ini_parse_stream(&ConfigParser::next_line, this, &ConfigParser::take_entry, this);
    if (error_) return fail(std::move(*error_));
    return std::move(file_);
  }

 private:
  // inih's ini_reader, with the contract of fgets.
  static char* next_line(char* out, int capacity, void* self) {
    return static_cast<ConfigParser*>(self)->next(out, static_cast<size_t>(capacity));
  }
  // inih's ini_handler: nonzero means good.
  static int take_entry(void* self, const char* /*section*/, const char* key, const char* value) {
    return static_cast<ConfigParser*>(self)->take(key, value) ? 1 : 0;
  }

  // Every call gives inih one whole line.
  char* next(char* out, size_t capacity) {
    if (!error_ && entry_awaited_) mistake("expected \"key = value\"");
    if (error_) return nullptr;
    if (text_.empty()) {
      close_entry();
      return nullptr;
    }
    ++line_;
    const size_t end = text_.find('\n');
    std::string_view line = text_.substr(0, end);
    text_.remove_prefix(end == text_.npos ? text_.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);

    std::string_view for_inih;
    const std::string_view content = trim(line);
    if (content.empty() || content[0] == ';' || content[0] == '#') {
      for_inih = "";
    } else if (std::any_of(content.begin(), content.end(),
                           [](char c) { return is_control(c) && c != '\t'; })) {
      mistake("has a control character; is this a text file?");
    } else if (line[0] == '[') {
      take_section(content);
      for_inih = "[s]";  // makes inih forget the previous key; we keep the name ourselves
    } else if (check_entry_line(line, content, capacity)) {
      for_inih = line;
      entry_awaited_ = true;
    }
    if (error_) return nullptr;
    std::memcpy(out, for_inih.data(), for_inih.size());
    out[for_inih.size()] = '\n';
    out[for_inih.size() + 1] = '\0';
    return out;
  }

  bool check_entry_line(std::string_view line, std::string_view content, size_t capacity) {
    continues_ = is_blank(line[0]);
    if (!continues_) close_entry();
    if (error_) return false;
    if (line.size() > ConfigFile::kMaxLine || line.size() + 2 > capacity) {
      mistake("is longer than " + std::to_string(ConfigFile::kMaxLine) +
              " bytes; continue the value on the next line, indented");
    } else if (continues_) {
      check_continuation(content);
    } else if (const size_t separator = content.find_first_of("=:");
               separator == content.npos || content[separator] == ':') {
      mistake("expected \"key = value\"");
    } else if (file_.sections_.empty()) {
      mistake("there is a key before the first [section]");
    }
    return !error_;
  }

  void check_continuation(std::string_view content) {
    if (!entry_open_) {
      mistake(
          "is indented, but there is no value before it to continue; keys and sections start"
          " in the first column");
      return;
    }
    const std::string_view key = trim(content.substr(0, content.find('=')));
    if (content[0] == '[' || (content.find('=') != content.npos && is_key(key))) {
      mistake("an indented line continues the value of " + entry().key + " (line " +
              std::to_string(entry().line) + "); a key or section starts at the first column");
    }
  }

  void take_section(std::string_view content) {
    close_entry();
    if (error_) return;
    content = trim(content.substr(0, comment_start(content)));
    if (content.size() > ConfigFile::kMaxSectionLine) return mistake("the section is too long");
    if (content.back() != ']') return mistake("a section ends with \"]\"; nothing may follow");
    const std::string_view inner = trim(content.substr(1, content.size() - 2));
    const size_t blank = inner.find_first_of(kBlanks);
    const std::string_view kind = inner.substr(0, blank);
    const std::string_view argument = blank == inner.npos ? "" : trim(inner.substr(blank));
    if (!is_name(kind, "_-")) {
      return mistake("\"" + shown(content) +
                     "\" is not a section; expected [kind] or [kind argument]");
    }
    for (const ConfigSection& other : file_.sections_) {
      if (other.kind() == kind && other.argument() == argument) {
        return mistake("section " + shown(other.title()) + " is in line " +
                       std::to_string(other.line()) + " already");
      }
    }
    file_.sections_.emplace_back(file_.name_, std::string(kind), std::string(argument), line_);
  }

  bool take(std::string_view key, std::string_view value) {
    entry_awaited_ = false;
    if (file_.sections_.empty()) return false;  // already reported by check_entry_line
    ConfigSection& section = file_.sections_.back();
    if (const size_t hash = value.find('#');
        hash != value.npos && (hash == 0 || is_blank(value[hash - 1]))) {
      mistake("a comment at the end of a line starts with \";\", not \"#\"");
      return false;
    }
    if (continues_) {
      std::string& whole = entry().value;
      if (!whole.empty()) whole += ' ';
      whole += value;
      return true;
    }
    if (!is_key(key)) {
      mistake("\"" + shown(key) + "\" is not a key: keys consist of a-z, 0-9 and _");
      return false;
    }
    if (const auto* other = section.find(key)) {
      mistake(section.title() + " " + std::string(key) + " is in line " +
              std::to_string(other->line) + " already");
      return false;
    }
    section.entries_.push_back({std::string(key), std::string(value), line_});
    entry_open_ = true;
    return true;
  }

  // The last entry's value is complete now.
  void close_entry() {
    if (!entry_open_) return;
    entry_open_ = false;
    const std::string& value = entry().value;
    const ConfigSection& section = file_.sections_.back();
    if (value.empty()) {
      error_ = section.mistake(entry().key, "has no value; remove the line to use the default");
    } else if (value.size() >= 2 && value.front() == value.back() &&
               (value.front() == '"' || value.front() == '\'')) {
      error_ = section.mistake(entry().key, "values are not quoted: remove the quotes");
    }
  }

  ConfigSection::Entry& entry() { return file_.sections_.back().entries_.back(); }

  void mistake(std::string_view message) {
    if (!error_) error_.emplace(Code::kInvalid, where(file_.name_, line_) + std::string(message));
  }

  std::string_view text_;  // not read yet
  int line_ = 0;
  ConfigFile file_;
  std::optional<Error> error_;  // the first one; ends the parsing
  bool entry_awaited_ = false;  // inih has a line and has not called back for it
  bool continues_ = false;      // that line continues the value before
  bool entry_open_ = false;     // the section's last entry may still be continued
};

Result<ConfigFile> ConfigFile::parse(std::string_view text, std::string file_name) {
  return ConfigParser(text, std::move(file_name)).run();
}

}  // namespace keyfs
