// The configuration file: INI, read with inih, checked strictly.
//
// Thread-safety: plain values that nothing changes after parsing. Ownership: a ConfigFile owns its
// sections. Blocking: only ConfigFile::read, which reads a file. base/config_reader.h takes the
// values of a section apart.
//
// Errors are all Code::kInvalid, one line for the operator:
// "/etc/keyfs/keyfs.ini:12: [store] typ: unknown key (did you mean type?)". Where there are several
// mistakes, the first by line is told.
//
// The format
//   [kind]  [kind argument]   a section; the argument is the rest, e.g. a region or a glob, and may
//                             hold "]" and blanks. A section stands once.
//   key = value               keys are a-z 0-9 _ and start with a letter; a key stands once in its
//                             section; the value is not empty, and is taken as it is: no quotes, no
//                             escapes.
//     more                    an indented line goes on with the value of the key before it, after
//                             one blank: so are long lists written on several lines.
//   ; comment  # comment      on a line of their own
//   key = value   ; comment   ";" starts a comment only after a blank: "a;b" is a value
// A line has at most kMaxLine bytes: inih as Debian builds it takes lines of 200 bytes, with line
// end and NUL, and cuts longer ones in two. Lines end with LF or CRLF; a UTF-8 byte order mark
// at the start is skipped. What inih takes but an operator rarely means is an error here: "key:
// value", " #" within a value, text after "]", names cut at 50 bytes, and an indented line that
// looks like a key of its own.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace keyfs {

class ConfigSection {
 public:
  struct Entry {
    std::string key;
    std::string value;
    int line;  // from 1; of the key, where a value goes on over several lines
  };

  ConfigSection(std::string file, std::string kind, std::string argument, int line)
      : file_(std::move(file)),
        kind_(std::move(kind)),
        argument_(std::move(argument)),
        line_(line) {}

  const std::string& file() const { return file_; }
  const std::string& kind() const { return kind_; }          // "region"
  const std::string& argument() const { return argument_; }  // "us-east-1", or empty
  int line() const { return line_; }
  std::string title() const;  // "[region us-east-1]"

  const std::vector<Entry>& entries() const { return entries_; }  // in file order
  const Entry* find(std::string_view key) const;                  // null: not there

  // "FILE:LINE: [kind argument] " + message, LINE being the section's; an error about the section.
  Error mistake(std::string_view message) const;
  // "FILE:LINE: [kind argument] key: " + message; LINE is the section's when the key is not there.
  Error mistake(std::string_view key, std::string_view message) const;

 private:
  friend class ConfigParser;
  std::string file_;
  std::string kind_;
  std::string argument_;
  int line_;
  std::vector<Entry> entries_;
};

class ConfigFile {
 public:
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  static constexpr size_t kMaxLine = 197;
  static constexpr size_t kMaxSectionLine = 512;
  static constexpr size_t kMaxKey = 49;

  // Takes any bytes whatever: a text that is no configuration is an error. `file_name` is what
  // messages call it.
  static Result<ConfigFile> parse(std::string_view text, std::string file_name);
  static Result<ConfigFile> read(const std::string& path);

  const std::string& name() const { return name_; }
  const std::vector<ConfigSection>& sections() const { return sections_; }  // in file order
  // The section of that kind without regard to the argument, or null. For kinds that take none.
  const ConfigSection* find(std::string_view kind) const;
  std::vector<const ConfigSection*> all(std::string_view kind) const;  // in file order

  struct Kind {
    std::string_view name;
    bool takes_argument;  // true: must have one. false: must have none
  };
  // An error for the first section of another kind, or with an argument too many or too few.
  Result<void> check_kinds(const std::vector<Kind>& kinds) const;

 private:
  friend class ConfigParser;
  std::string name_;
  std::vector<ConfigSection> sections_;
};

// The nearest of the names to a mistyped one, or nullopt when none is near.
std::optional<std::string_view> nearest_name(std::string_view typed,
                                             std::span<const std::string_view> names);

}  // namespace keyfs
