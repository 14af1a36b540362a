#include "store/board_marks.h"

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/text.h"

namespace keyfs {
namespace {

constexpr size_t kStep = kBoardMarkSize + 1;  // with the comma

}  // namespace

Result<std::string> new_board_mark(Random& random) {
  std::array<uint8_t, kBoardMarkSize / 2> bytes{};
  if (auto ok = random.fill(bytes); !ok) return fail(std::move(ok.error()));
  return hex_encode(bytes);
}

std::string board_trail(const std::string& mark, std::string_view trail) {
  if (trail.empty()) return mark;
  return mark + "," + std::string(trail.substr(0, (kBoardMarks - 1) * kStep - 1));
}

bool has_board_mark(std::string_view trail, std::string_view mark) {
  for (size_t at = 0; at < trail.size(); at += kStep) {
    if (trail.substr(at, kBoardMarkSize) == mark) return true;
  }
  return false;
}

bool is_board_trail(std::string_view trail) {
  if ((trail.size() + 1) % kStep != 0 || trail.size() > kBoardMarks * kStep) return false;
  for (size_t at = 0; at < trail.size(); ++at) {
    const char c = trail[at];
    const bool comma = at % kStep == kBoardMarkSize;
    if (comma ? c != ',' : !is_digit(c) && (c < 'a' || c > 'f')) return false;
  }
  return true;
}

}  // namespace keyfs
