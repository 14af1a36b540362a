// Where a key is found in the mount, beside its plain name, and what is shown there.
//
//   orders                             View::kKey       the current version
//   .keyfs/versions/orders             View::kVersions  a directory
//   .keyfs/versions/orders/2           View::kVersion   that version
//   .keyfs/versions/orders/current     View::kCurrent   a symbolic link to the current number
//   .keyfs/hex/orders                  View::kHex       the current version as text
//   .keyfs/base64/orders               View::kBase64    the same
//
// Thread-safety: plain functions. Blocking: never. Errors: only text_of()'s.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

// Nodes that are always there; keys' own ids are far above (fs/mount/inode_ids.h).
constexpr uint64_t kRootNode = 1;
constexpr uint64_t kDirectoryNode = 2;  // .keyfs
constexpr uint64_t kFirstFileNode = 3;  // its files
constexpr uint64_t kVersionsNode = 32;  // .keyfs/versions
constexpr uint64_t kHexNode = 33;
constexpr uint64_t kBase64Node = 34;

enum class View : uint8_t { kKey, kHex, kBase64, kVersions, kVersion, kCurrent };

// Its bytes are a key's, or the text of them.
constexpr bool is_file(View view) { return view != View::kVersions && view != View::kCurrent; }
constexpr bool is_text(View view) { return view == View::kHex || view == View::kBase64; }

inline constexpr std::string_view kCurrentName = "current";

// A version's number as it is written there: 1 to 4294967295, and nothing before or after it.
std::optional<uint32_t> parse_version(std::string_view name);

// The name within its directory, and the path below .keyfs (below the root for View::kKey), whose
// hash is the inode number.
std::string name_of(View view, std::string_view id, uint32_t version);
std::string path_of(View view, std::string_view id, uint32_t version);

// How large a key of that size is there.
uint32_t shown_bytes(View view, uint32_t key_bytes);

// A text view of these bytes, in locked memory. Errors: SecretArena::allocate()'s.
Result<SecretBytes> text_of(View view, SecretArena& arena, std::span<const uint8_t> bytes);

}  // namespace keyfs
