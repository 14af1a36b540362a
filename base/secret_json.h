// Extracts strings from a JSON text that holds secrets, with copies only in locked memory.
// nlohmann-json leaves copies on the heap, and quotes the text in its exceptions.
//
// Thread-safety: plain functions. Blocking: never. Errors: kCorrupt; messages name the member and
// quote nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

// The members of the outermost object. Refers to the text, which must outlive it.
class SecretJson {
 public:
  // kCorrupt for a text that is not a JSON object (RFC 8259), is nested deeper than 32 levels, or
  // has more than 256 members or a duplicate one.
  static Result<SecretJson> parse(std::string_view text);

  // The member's text, unescaped. nullopt if there is none, or it is null; kCorrupt if it is not a
  // string; SecretArena::allocate()'s errors.
  Result<std::optional<SecretBytes>> secret(SecretArena& arena, std::string_view name) const;
  // The same for what is not secret.
  Result<std::optional<std::string>> string(std::string_view name) const;
  // The raw text of a number, true, false, object or array.
  std::optional<std::string_view> raw(std::string_view name) const;

 private:
  struct Member {
    std::string_view name;   // raw; a name with escapes is never requested
    std::string_view value;  // raw; a string includes its quotes
  };
  const Member* find(std::string_view name) const;

  std::vector<Member> members_;
};

}  // namespace keyfs
