// JSON as a store may hand it to us: from a table that others can write to.
//
// Thread-safety: a plain function. Blocking: never. Errors: kCorrupt with a few words that quote
// nothing of the text: "is not JSON", "is nested deeper than 32 levels".
//
// nlohmann::json keeps the last of two equal keys and rounds integers that do not fit 64 bits;
// either would let a record mean one thing here and another elsewhere, so both are refused.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"

namespace keyfs {

inline constexpr size_t kMaxJsonDepth = 32;

Result<nlohmann::json> parse_strict_json(std::string_view text, size_t max_bytes);

}  // namespace keyfs
