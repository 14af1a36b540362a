// Names that common tools open unasked in whatever directory they are started in or see.
//
// Every well-formed name under the mount can be opened, and a caller who may create makes a key by
// opening. `git status` in the mount would so make a key "HEAD", `make` one "Makefile", and a
// program that is started there with LD_LIBRARY_PATH=: one "libc.so.6". Such names are therefore
// not made by open(2): it says ENOENT as long as there is no such key. `keyfs create NAME` makes
// one, which then reads like any other.
//
// Thread-safety: never changes. Blocking: never. Errors: kInvalid, without file and line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/policy/glob.h"

namespace keyfs {

class NeverCreate {
 public:
  // The default, as it would be written.
  static std::string_view default_text();

  // Names and globs between blanks and commas; "none" alone: no name at all.
  static Result<NeverCreate> parse(std::string_view text);

  bool matches(std::string_view name) const;
  // As it was written.
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::vector<Glob> globs_;
};

}  // namespace keyfs
