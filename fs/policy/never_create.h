// Names that common tools open unasked in every directory that they are started in or look at.
//
// Every well-formed name under the mount can be opened, and opening creates the key if the caller
// may create. So `git status` in the mount would create a key "HEAD", `make` one named "Makefile",
// and a program started there with LD_LIBRARY_PATH=: one named "libc.so.6". open(2) therefore never
// creates such names: it fails with ENOENT as long as there is no such key. `keyfs create NAME`
// creates one, which then reads like any other.
//
// Thread-safety: immutable. Blocking: never. Errors: only parse()'s.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/policy/glob.h"

namespace keyfs {

class NeverCreate {
 public:
  // The default, as written in a configuration.
  static std::string_view default_text();

  // Names and globs, separated by blanks or commas; "none" alone: no names. kInvalid for a
  // malformed glob, without file and line.
  static Result<NeverCreate> parse(std::string_view text);

  bool matches(std::string_view name) const;
  // As written.
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::vector<Glob> globs_;
};

}  // namespace keyfs
