#include "fs/mount/views.h"

#include <charconv>

#include "base/encoding.h"

namespace keyfs {

std::optional<uint32_t> parse_version(std::string_view name) {
  if (name.empty() || name.front() < '1' || name.front() > '9') return std::nullopt;
  uint32_t version = 0;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data(), end, version);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return version;
}

std::string name_of(View view, std::string_view id, uint32_t version) {
  if (view == View::kVersion) return std::to_string(version);
  return std::string(view == View::kCurrent ? kCurrentName : id);
}

std::string path_of(View view, std::string_view id, uint32_t version) {
  std::string path;
  switch (view) {
    case View::kKey:
      break;
    case View::kHex:
      path = "hex/";
      break;
    case View::kBase64:
      path = "base64/";
      break;
    case View::kVersions:
    case View::kVersion:
    case View::kCurrent:
      path = "versions/";
      break;
  }
  path += id;
  if (view == View::kVersion || view == View::kCurrent) (path += '/') += name_of(view, id, version);
  return path;
}

uint32_t shown_bytes(View view, uint32_t key_bytes) {
  if (view == View::kHex) return 2 * key_bytes;
  if (view == View::kBase64) return static_cast<uint32_t>(base64_size(key_bytes));
  return key_bytes;
}

Result<SecretBytes> text_of(View view, SecretArena& arena, std::span<const uint8_t> bytes) {
  return view == View::kHex ? hex_encode_secret(arena, bytes) : base64_encode_secret(arena, bytes);
}

}  // namespace keyfs
