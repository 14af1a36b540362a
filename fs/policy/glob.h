// Globs over key ids.
//
// They match the whole id, byte by byte: `*` any bytes or none, `?` one byte, `[abc]` `[a-z]` one
// of them, `[!abc]` one that is not; everything else stands for itself, there is no escape (ids
// hold none of * ? [ ]). Matching takes at most length x length steps, whatever the glob.
//
// Thread-safety: never changes. Blocking: never. Errors: kInvalid.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyfs {

// One pattern. See above for what it may hold; kInvalid for an open or empty bracket.
class Glob {
 public:
  static Result<Glob> parse(std::string_view pattern);
  bool matches(std::string_view text) const;
  const std::string& pattern() const { return pattern_; }

 private:
  struct Item {
    enum class Kind : uint8_t { kByte, kOne, kSet, kStar } kind;
    uint8_t byte = 0;
    uint16_t set = 0;  // index into sets_
  };
  using Set = std::array<uint64_t, 4>;  // a bit for each byte

  bool matches_one(const Item& item, uint8_t byte) const;

  std::string pattern_;
  std::vector<Item> items_;
  std::vector<Set> sets_;
};

}  // namespace keyfs
