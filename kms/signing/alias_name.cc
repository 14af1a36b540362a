// Names in aliases: see kms/signing/kms_custody.h.
#include <array>

#include "kms/signing/kms_custody.h"

namespace keyfs {
namespace {

constexpr std::string_view kAliasHex = "0123456789abcdef";

bool is_alias_hex(char c) { return kAliasHex.find(c) != std::string_view::npos; }

// '/' is none: it separates the owner's prefix, so that server "srv1" and its key "a/b" would be
// server "srv1/a" and its key "b".
bool may_stand_in_alias(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

bool hex_digits_at(std::string_view text, size_t at) {
  return at + 1 < text.size() && is_alias_hex(text[at]) && is_alias_hex(text[at + 1]);
}

}  // namespace

std::string escape_alias(std::string_view name) {
  std::string text;
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (may_stand_in_alias(c) && !(c == '_' && hex_digits_at(name, i + 1))) {
      text += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    text += {'_', kAliasHex[byte >> 4U], kAliasHex[byte & 0xfU]};
  }
  return text;
}

std::optional<std::string> unescape_alias(std::string_view text) {
  std::string name;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && hex_digits_at(text, i + 1)) {
      name += static_cast<char>(kAliasHex.find(text[i + 1]) * 16 + kAliasHex.find(text[i + 2]));
      i += 2;
    } else {
      name += text[i];
    }
  }
  // Otherwise two aliases would be one name.
  if (name.empty() || escape_alias(name) != text) return std::nullopt;
  return name;
}

}  // namespace keyfs
