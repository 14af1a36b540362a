#include "fs/mount/file_numbers.h"

namespace keyfs {
namespace {

constexpr uint32_t kOwnNumbers = 64;

}  // namespace

// FNV-1a, 64 bits folded to 32 (draft-eastlake-fnv).
uint32_t file_number(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3U;
  const auto folded = static_cast<uint32_t>(hash ^ hash >> 32);
  return folded < kOwnNumbers ? folded + kOwnNumbers : folded;
}

}  // namespace keyfs
