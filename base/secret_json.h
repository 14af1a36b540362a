// Takes strings out of a JSON text that holds secrets, without a copy anywhere but in locked
// memory. nlohmann-json leaves copies on the heap, and quotes the text in its exceptions.
//
// Thread-safety: plain functions. Blocking: never. Errors: Code::kCorrupt for a text that is no
// JSON object (RFC 8259), is nested deeper than 32 levels or has more than 256 members, a member
// that stands twice, or one that is not of the kind that was asked
// for; messages name the member, and quote nothing.
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
  static Result<SecretJson> parse(std::string_view text);

  // nullopt when there is no such member, or it is null.
  Result<std::optional<SecretBytes>> secret(SecretArena& arena, std::string_view name) const;
  // For what is not secret.
  Result<std::optional<std::string>> string(std::string_view name) const;
  // The text of a number, true, false; or of an object or array, as it stands.
  std::optional<std::string_view> raw(std::string_view name) const;

 private:
  struct Member {
    std::string_view name;   // as it stands; a name with escapes is never asked for
    std::string_view value;  // as it stands; a string with its quotes
  };
  const Member* find(std::string_view name) const;

  std::vector<Member> members_;
};

}  // namespace keyfs
