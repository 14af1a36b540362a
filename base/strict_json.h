// JSON from untrusted sources: servers, or a table that others can write to.
//
// Depth, size and the number of values are bounded while the text is read, before anything is
// built: "[],[]," takes a hundred times its size as a tree, and writing or copying a tree recurses,
// so that a deep one would crash the program.
//
// nlohmann::json keeps the last of two equal keys and rounds integers that do not fit in 64 bits.
// Either would let a record mean one thing here and another elsewhere, so both are refused.
//
// Thread-safety: a plain function. Blocking: never. Errors: kCorrupt with a short message that
// quotes nothing of the text: "is not JSON", "is nested deeper than 32 levels".
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"

namespace keyfs {

inline constexpr size_t kMaxJsonDepth = 32;
inline constexpr size_t kMaxJsonValues = size_t{1} << 16;

// `max_bytes`: of the text. `max_values`: objects, arrays and what is in them, in total.
Result<nlohmann::json> parse_strict_json(std::string_view text, size_t max_bytes,
                                         size_t max_values = kMaxJsonValues);

}  // namespace keyfs
