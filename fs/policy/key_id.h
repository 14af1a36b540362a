// What kind of name a file name under the mount is.
//
// A key id is 1 to 255 bytes of A-Z a-z 0-9 . _ : @ + = , ~ - and starts with a letter or a digit.
// Names that start with a dot are reserved for keyfs (.keyfs/). Anything else does not exist.
//
// Thread-safety: pure functions. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <string_view>

namespace keyfs {

constexpr size_t kMaxKeyId = 255;  // bytes

enum class NameKind {
  kKey,       // a well-formed key id
  kReserved,  // starts with a dot: keyfs's own, or ENOENT
  kTooLong,   // ENAMETOOLONG
  kInvalid,   // ENOENT
};

// Accepts any bytes.
NameKind classify_name(std::string_view name);

// For messages about a name that is none.
inline constexpr std::string_view kKeyIdRule =
    "1 to 255 of A-Z a-z 0-9 . _ : @ + = , ~ -, the first a letter or a digit";

inline bool is_key_id(std::string_view name) { return classify_name(name) == NameKind::kKey; }

}  // namespace keyfs
