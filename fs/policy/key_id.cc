#include "fs/policy/key_id.h"

#include <array>
#include <cstdint>

namespace keyfs {
namespace {

constexpr bool is_alphanumeric(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

constexpr std::array<bool, 256> kAllowed = [] {
  std::array<bool, 256> allowed{};
  for (int c = 0; c < 256; ++c)
    allowed[static_cast<size_t>(c)] = is_alphanumeric(static_cast<char>(c));
  for (const char c : std::string_view("._:@+=,~-")) allowed[static_cast<uint8_t>(c)] = true;
  return allowed;
}();

}  // namespace

NameKind classify_name(std::string_view name) {
  if (name.size() > kMaxKeyId) return NameKind::kTooLong;
  if (name.empty()) return NameKind::kInvalid;
  if (name[0] == '.') return NameKind::kReserved;
  if (!is_alphanumeric(name[0])) return NameKind::kInvalid;
  for (const char c : name) {
    if (!kAllowed[static_cast<uint8_t>(c)]) return NameKind::kInvalid;
  }
  return NameKind::kKey;
}

}  // namespace keyfs
