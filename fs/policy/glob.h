// Globs over key ids.
//
// They match the whole id, byte by byte: `*` any bytes or none, `?` one byte, `[abc]` `[a-z]` one
// byte of a set, `[!abc]` one byte not in it; everything else matches itself. There is no escape
// (ids contain none of * ? [ ]). Matching takes at most length x length steps, whatever the glob.
//
// Thread-safety: immutable. Blocking: never. Errors: only parse()'s.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyfs {

class Glob {
 public:
  // One pattern, as above. kInvalid for an empty one, and for an unclosed or empty bracket or a
  // reversed range in it.
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
