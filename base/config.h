// The configuration file: INI, read with inih, checked strictly.
//
// Thread-safety: plain values, immutable after parsing. Ownership: a ConfigFile owns its
// sections. Blocking: only read(). base/config_reader.h reads the values of a section.
//
// Errors are all kInvalid, one line for the operator: "/etc/keyfs/keyfs.ini:12: [store] typ:
// unknown key (did you mean type?)". Of several mistakes, the first by line is reported.
//
// The format
//   [kind]  [kind argument]   a section; the argument is the rest, e.g. a region or a glob, and may
//                             hold "]" and blanks. A section may appear only once.
//   key = value               keys are a-z 0-9 _ and start with a letter; a key may appear only
//                             once in its section; the value is not empty, and is taken literally:
//                             no quotes, no escapes.
//     more                    an indented line continues the value of the key before it, after one
//                             blank; for long lists.
//   ; comment  # comment      on a line of their own
//   key = value   ; comment   ";" starts a comment only after a blank: "a;b" is a value
// A line has at most kMaxLine bytes: inih as Debian builds it accepts lines of 200 bytes, including
// line end and NUL, and splits longer ones. Lines end with LF or CRLF; a UTF-8 byte order mark at
// the start is skipped. What inih accepts but an operator rarely means is an error here: "key:
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
    int line;  // from 1; the key's line if the value has several
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
  const Entry* find(std::string_view key) const;                  // null: absent

  // "FILE:LINE: [kind argument] " + message, LINE being the section's; an error about the section.
  Error mistake(std::string_view message) const;
  // "FILE:LINE: [kind argument] key: " + message; LINE is the section's if the key is absent.
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
  // Bytes.
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  static constexpr size_t kMaxLine = 197;
  static constexpr size_t kMaxSectionLine = 512;
  static constexpr size_t kMaxKey = 49;

  // Accepts any bytes: a text that is not a configuration is an error. Messages name it
  // `file_name`.
  static Result<ConfigFile> parse(std::string_view text, std::string file_name);
  // The same for a file, which must be regular, and trusted (base/private_file.h, kTrusted). Blocks
  // on the disk.
  static Result<ConfigFile> read(const std::string& path);

  const std::string& name() const { return name_; }
  const std::vector<ConfigSection>& sections() const { return sections_; }  // in file order
  // The first section of that kind, whatever its argument, or null. For kinds that take no
  // argument.
  const ConfigSection* find(std::string_view kind) const;
  std::vector<const ConfigSection*> all(std::string_view kind) const;  // in file order

  struct Kind {
    std::string_view name;
    bool takes_argument;  // true: must have one. false: must have none
  };
  // An error for the first section of any other kind, or with a superfluous or missing argument.
  Result<void> check_kinds(const std::vector<Kind>& kinds) const;

 private:
  friend class ConfigParser;
  std::string name_;
  std::vector<ConfigSection> sections_;
};

// The name closest to a mistyped one, or nullopt if none is close.
std::optional<std::string_view> nearest_name(std::string_view typed,
                                             std::span<const std::string_view> names);

}  // namespace keyfs
