#include "support/memory_scan.h"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace keyfs::testing {
namespace {

constexpr uint8_t kMask = 0xa5;
constexpr size_t kLength = 40;
constexpr size_t kShadowBytes = size_t{4} << 30;  // only a sanitizer's own mappings are that large

}  // namespace

Needle::Needle(std::string_view name) {
  uint64_t state = 1469598103934665603ull;
  for (const char c : name) state = (state ^ static_cast<uint8_t>(c)) * 1099511628211ull;
  for (size_t i = 0; i < kLength; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    masked_.push_back(static_cast<uint8_t>('a' + (state >> 33) % 26) ^ kMask);
  }
}

std::string Needle::reveal() const {
  std::string out;
  for (const uint8_t byte : masked_) out.push_back(static_cast<char>(byte ^ kMask));
  return out;
}

size_t Needle::copies() const { return count(masked_); }

size_t Needle::base64_copies() const {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint8_t> masked;
  for (size_t i = 0; i + 3 <= masked_.size(); i += 3) {
    const unsigned group = static_cast<unsigned>(masked_[i] ^ kMask) << 16 |
                           static_cast<unsigned>(masked_[i + 1] ^ kMask) << 8 |
                           static_cast<unsigned>(masked_[i + 2] ^ kMask);
    for (int shift = 18; shift >= 0; shift -= 6) {
      masked.push_back(static_cast<uint8_t>(kDigits[group >> shift & 63]) ^ kMask);
    }
  }
  return count(masked);
}

// Reads through /proc/self/mem: a mapping that cannot be read gives an error rather than a signal.
size_t Needle::count(const std::vector<uint8_t>& masked) {
  const size_t length = masked.size();
  struct Range {
    uintptr_t begin;
    uintptr_t end;
    char name[128];
  };
  std::vector<Range> ranges;
  FILE* maps = std::fopen("/proc/self/maps", "re");
  char line[512];
  while (maps != nullptr && std::fgets(line, sizeof line, maps) != nullptr) {
    Range range{};
    char mode[8] = "";
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*s %*s %*s %127[^\n]", &range.begin,
                    &range.end, mode, range.name) >= 3 &&
        mode[1] == 'w' && range.end - range.begin < kShadowBytes) {
      ranges.push_back(range);
    }
  }
  if (maps != nullptr) std::fclose(maps);
  const int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  size_t found = 0;
  // The window itself must not count as a copy of the needle: it is wiped before the next scan, and
  // its range is skipped.
  static uint8_t window[1 << 16];
  for (const Range& range : ranges) {
    for (uintptr_t at = range.begin; at < range.end;) {
      const ssize_t got = pread(memory, window, sizeof window, static_cast<off_t>(at));
      if (got < static_cast<ssize_t>(length)) break;
      for (size_t i = 0; i + length <= static_cast<size_t>(got); ++i) {
        size_t same = 0;
        while (same < length && (window[i + same] ^ kMask) == masked[same]) ++same;
        if (same < length) continue;
        const uintptr_t address = at + i;
        const auto own = reinterpret_cast<uintptr_t>(window);
        if (address >= own && address < own + sizeof window) continue;
        ++found;
        std::fprintf(stderr, "found at %" PRIxPTR " in %s\n", address,
                     range.name[0] != 0 ? range.name : "(anonymous)");
      }
      if (static_cast<size_t>(got) < sizeof window) break;
      at += static_cast<uintptr_t>(got) - length + 1;  // one that lies across the windows' edge
    }
  }
  if (memory >= 0) close(memory);
  std::memset(window, 0, sizeof window);
  return found;
}

}  // namespace keyfs::testing
