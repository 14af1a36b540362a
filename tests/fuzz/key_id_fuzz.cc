// Any bytes as a file name: classified without a crash, and a key id holds no surprises.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "fs/policy/key_id.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view name(reinterpret_cast<const char*>(data), size);
  if (keyfs::classify_name(name) != keyfs::NameKind::kKey) return 0;
  if (name.empty() || name.size() > keyfs::kMaxKeyId || name[0] == '.') std::abort();
  for (const char c : name) {
    if (c == '/' || c == '\0' || c == '*' || c == '[' || c <= ' ' || c > '~') std::abort();
  }
  return 0;
}
